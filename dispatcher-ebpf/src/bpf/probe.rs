//! Probes of VIPs: sends each to the backend whose slot its source port names, and the answers to the prober.
//!
//! The prober is in its own network namespace, behind a veth. [`send`] runs on this host's end of the veth, [`receive`] on every
//! NIC, after XDP. Neither uses the host's routing or the connection table.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use dispatcher_common::{
    backend::{LOCAL, NO_MAC, PRESENT},
    service::OWN,
};
use dispatcher_ebpf::{
    parse::{ETHERNET, FlowWords, ICMP_HEADER, IPV6_HEADER},
    probe::{self, Probe},
    rewrite::mac,
};

use super::{
    context::{had_tag, skb_frame},
    filter, helper, maps,
};

/// Bytes of a packet that must be contiguous: an ICMPv6 error with the headers of the packet that it quotes.
const HEAD: u32 = ETHERNET + 2 * IPV6_HEADER + 2 * ICMP_HEADER;

/// Sends a probe to its backend, also if the backend takes no connections; drops everything else.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext) -> i32 {
    to_backend(ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn to_backend(ctx: &TcContext) -> Option<i32> {
    let frame = skb_frame(ctx, HEAD);
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
    Some(helper::redirect(ifindex, 0) as i32)
}

/// Sends answers to probes to the prober; leaves everything else unchanged to the next program.
#[inline(always)]
pub(crate) fn receive(ctx: &TcContext) -> i32 {
    to_prober(ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
fn to_prober(ctx: &TcContext) -> Option<i32> {
    if had_tag(ctx) {
        return None;
    }
    let frame = skb_frame(ctx, HEAD);
    let Probe { flow, slot } = probe::answered(frame)?;
    if maps::forward(slot).flags() & PRESENT == 0 || !is_vip(&flow) {
        return None;
    }
    let end = maps::probe_end(flow.client())?;
    let [a, b, c, d, e, f] = end.mac;
    let head = frame.head::<14>()?;
    head.set_u32::<0>(u32::from_ne_bytes([a, b, c, d]));
    head.set_u16::<4>(u16::from_ne_bytes([e, f]));
    Some(helper::redirect(end.ifindex, 0) as i32)
}

/// Whether a flow's VIP has services.
#[inline(always)]
fn is_vip(flow: &FlowWords) -> bool {
    let may_be = if flow.has_mapped_vip() {
        filter::may_be_vip_v4(flow.vip[3])
    } else {
        filter::may_be_vip_v6(flow.vip)
    };
    may_be && maps::vip(flow).is_some_and(|services| services != OWN)
}
