//! Answers packets that exceed the MTU of the NIC by which they would leave: the sender gets the largest size that fits.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    barrier::hide,
    frame::Frame,
    outcome::Exit,
    parse::{self, FlowWords, Network},
    rewrite::too_big::{self, Notice},
};

use super::{context::Context, global::global, helper, maps, reset, verdict};

global! {
    /// Answers a packet that is too large for the NIC of a slot's backend. If it must not be answered, it is dropped.
    pub(crate) fn answer(ctx: Context, slot: u32) -> u32 as dispatcher_too_big {
        let Some(packet) = maps::packet() else { return XDP_DROP };
        let flow = &mut packet.flow;
        let whole = ctx.frame();
        let Ok(network) = parse::network(whole, flow) else { return XDP_DROP };
        let mtu = maps::mtu(maps::forward(slot).interface());
        let reason = match too_big::notice(whole, network, flow, mtu) {
            Some(notice) if reset::may_send() && tell(ctx, flow, network, notice).is_some() => {
                Reason::TooBigAnswered
            }
            _ => Reason::TooBig,
        };
        verdict::leave(Exit::of(maps::service_of(slot), reason), network.bytes)
    }
}

/// Turns the frame into the answer.
#[inline(always)]
fn tell(ctx: Context, flow: &FlowWords, network: Network, notice: Notice) -> Option<()> {
    let headers = too_big::headers(network.is_v4);
    let length = network.offset + headers + too_big::quote(network.is_v4);
    let grown = ctx.move_head((headers as i32).wrapping_neg())?;
    // Verifier (6.18 refuses it without, "32-bit pointer arithmetic prohibited"): it accepts the difference of two pointers, but no
    // parts of a longer sum.
    let before = hide(u64::from(grown.length())) as u32;
    // It is longer than the answer: see `notice`.
    let frame = ctx.move_tail(length.wrapping_sub(before) as i32)?;
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

/// The sum of `BYTES` bytes of the frame as native words, added to one before.
#[inline(always)]
fn sum<const BYTES: usize>(frame: Frame, at: u32, before: u32) -> Option<u32> {
    let window = frame.window::<BYTES>(at)?;
    Some(helper::sum(window, before))
}
