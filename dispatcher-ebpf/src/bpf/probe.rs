//! Probes of VIPs: to the MAC of the backend whose slot the source port names, and what answers them to the prober.
//!
//! The prober is in a network namespace of its own, behind a veth. [`send`] is on the veth's end at our side, [`receive`] on
//! every NIC, behind XDP. Neither routing nor the connection table of this host is asked.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{bpf_redirect, bpf_skb_pull_data},
    programs::TcContext,
};
use dispatcher_common::{
    backend::{LOCAL, NO_MAC, PRESENT},
    service::OWN,
};
use dispatcher_ebpf::{
    frame::Frame,
    parse::FlowWords,
    probe::{self, Probe},
    rewrite::mac,
};

use super::{filter, maps};

/// What of a packet has to be in one piece: an ICMPv6 error with the headers of the packet that it quotes.
const HEAD: u32 = 14 + 40 + 8 + 40 + 8;

/// Sends a probe to its backend, whatever the scheduler thinks of that; drops everything else.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext) -> i32 {
    to_backend(ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn to_backend(ctx: &TcContext) -> Option<i32> {
    let frame = frame(ctx);
    let Probe { flow, slot } = probe::sent(frame)?;
    if !is_vip(&flow) {
        return None;
    }
    let forward = maps::forward(slot);
    if forward.flags() & (PRESENT | NO_MAC | LOCAL) != PRESENT {
        return None;
    }
    let own = maps::own_address(forward.interface());
    if own.flags() == 0 {
        return None;
    }
    let ifindex = maps::ifindex(forward.interface());
    mac::rewrite(frame.head::<14>()?, forward.0, own.0);
    Some(redirect(ifindex))
}

/// Hands what answers a probe to the prober; leaves everything else as it is, to whoever is next.
#[inline(always)]
pub(crate) fn receive(ctx: &TcContext) -> i32 {
    to_prober(ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
fn to_prober(ctx: &TcContext) -> Option<i32> {
    // SAFETY: the context is the one that the program was called with.
    if unsafe { (*ctx.skb.skb).vlan_present } != 0 {
        return None;
    }
    let frame = frame(ctx);
    let Probe { flow, slot } = probe::answered(frame)?;
    if maps::forward(slot).flags() & PRESENT == 0 || !is_vip(&flow) {
        return None;
    }
    let end = maps::probe_end(flow.client())?;
    let [a, b, c, d, e, f] = end.mac;
    let head = frame.head::<14>()?;
    head.set_u32::<0>(u32::from_ne_bytes([a, b, c, d]));
    head.set_u16::<4>(u16::from_ne_bytes([e, f]));
    Some(redirect(end.ifindex))
}

/// The packet, with its headers in one piece.
#[inline(always)]
fn frame(ctx: &TcContext) -> Frame {
    let wanted = if ctx.len() < HEAD { ctx.len() } else { HEAD };
    if ctx.data() + wanted as usize > ctx.data_end() {
        // SAFETY: the context is the one that the program was called with. Pointers into the packet are made after this.
        let _short = unsafe { bpf_skb_pull_data(ctx.as_ptr().cast::<__sk_buff>(), wanted) };
    }
    // SAFETY: the kernel lets programs of this type read and write what lies between the two.
    unsafe { Frame::new(ctx.data(), ctx.data_end()) }
}

/// Whether a flow's VIP is one.
#[inline(always)]
fn is_vip(flow: &FlowWords) -> bool {
    let may_be = if flow.has_mapped_vip() {
        filter::may_be_vip_v4(flow.vip[3])
    } else {
        filter::may_be_vip_v6(flow.vip)
    };
    may_be && maps::vip(flow.vip()).is_some_and(|services| services != OWN)
}

/// Sends the packet out of a NIC.
#[inline(always)]
fn redirect(ifindex: u32) -> i32 {
    // SAFETY: the helper takes numbers only. It yields TC_ACT_REDIRECT, or TC_ACT_SHOT.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}
