//! A packet that is larger than the MTU of the NIC by which it would leave: its sender is told how large it may be.

use core::ptr;

use aya_ebpf::{
    bindings::{xdp_action::XDP_DROP, xdp_md},
    helpers::generated::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    barrier::hide,
    frame::Frame,
    outcome::Exit,
    parse::{self, FlowWords, Network},
    rewrite::too_big::{self, Notice},
};

use super::{maps, packet::frame, reset, verdict};

/// Answers a packet that is too large for the NIC of a slot's backend, or, where that may not be, drops it. A global function:
/// see [`super::full_path`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_too_big(ctx: *mut xdp_md, slot: u64) -> u32 {
    let Some(packet) = maps::packet() else { return XDP_DROP };
    // SAFETY: the pointer comes from a lookup. Nobody needs what the packet was when this is called.
    let flow = unsafe { &mut (*packet).flow };
    let slot = slot as u32;
    let whole = frame(&XdpContext::new(ctx));
    let Ok(network) = parse::network(whole, flow) else { return XDP_DROP };
    let exit = Exit::of(maps::service_of(slot), Reason::TooBig);
    let mtu = maps::mtu(maps::forward(slot).interface());
    let reason = match too_big::notice(whole, network, flow, mtu) {
        Some(notice) if reset::may_send() && tell(ctx, flow, network, notice).is_some() => {
            Reason::TooBigAnswered
        }
        _ => Reason::TooBig,
    };
    verdict::leave(Exit { reason, ..exit }, network.bytes)
}

/// Makes the frame the answer.
#[inline(always)]
fn tell(ctx: *mut xdp_md, flow: &FlowWords, network: Network, notice: Notice) -> Option<()> {
    let headers = too_big::headers(network.is_v4);
    let length = network.offset + headers + too_big::quote(network.is_v4);
    // SAFETY: the context is the program's; no pointer into the frame is used after this.
    let grown = unsafe { bpf_xdp_adjust_head(ctx, (headers as i32).wrapping_neg()) };
    if grown != 0 {
        return None;
    }
    // Hidden: the verifier takes the difference of two pointers, but not parts of a longer sum.
    let before = hide(u64::from(frame(&XdpContext::new(ctx)).length())) as u32;
    // SAFETY: as above. It is longer than the answer: see `notice`.
    if unsafe { bpf_xdp_adjust_tail(ctx, length.wrapping_sub(before) as i32) } != 0 {
        return None;
    }
    let frame = frame(&XdpContext::new(ctx));
    let at = network.offset + headers;
    let quoted = if network.is_v4 {
        sum::<{ too_big::QUOTE_V4 as usize }>(frame, at, 0)?
    } else {
        let first = sum::<512>(frame, at, 0)?;
        let second = sum::<512>(frame, at + 512, first)?;
        sum::<{ too_big::QUOTE_V6 as usize - 1024 }>(frame, at + 1024, second)?
    };
    too_big::write(frame, network, flow, notice, quoted)
}

/// The sum of so many bytes of the frame as native words, added to one before.
#[inline(always)]
fn sum<const BYTES: usize>(frame: Frame, at: u32, before: u32) -> Option<u32> {
    let window = frame.window::<BYTES>(at)?;
    // SAFETY: the window's bytes are in the frame, which the helper only reads.
    let sum = unsafe {
        bpf_csum_diff(ptr::null_mut(), 0, window.address() as *mut u32, BYTES as u32, before)
    };
    Some(sum as u32)
}
