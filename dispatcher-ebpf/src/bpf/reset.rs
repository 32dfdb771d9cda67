//! Answers a TCP packet whose connection is over with an RST. Its client then acts at once instead of waiting.

use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{barrier::hide, outcome::Exit, parse::RST, rewrite::reset};

use super::{
    clock::now, context::Context, global::global, maps, packet::Packet, table::tracking, verdict,
};

/// The burst of answers that a CPU may send at once, as the time that it takes at the sustained rate. It must be several steps of
/// [`now`].
const BURST_NS: u64 = 100_000_000;

global! {
    /// Answers a packet with an RST that ends its connection. If it must not be answered, the packet leaves by its exit.
    pub(crate) fn answer(ctx: Context, packet: &mut Packet, exit: Exit) -> u32 as dispatcher_reset {
        // An RST is never answered, or two hosts could go on for ever.
        let is_due = packet.is_tcp() && packet.flags & u32::from(RST) == 0 && may_send();
        if is_due && make(ctx, packet) {
            tracking::close(packet);
            return verdict::leave(Exit::of(exit.service(), Reason::Reset), packet.bytes);
        }
        verdict::leave(exit, packet.bytes)
    }

    /// Turns the frame into the RST; false if that is not possible. Its stack is free again when the connection ends.
    fn make(ctx: Context, packet: &mut Packet) -> bool as dispatcher_answer {
        let frame = ctx.frame();
        // Verifier (6.18 refuses it without, "32-bit pointer arithmetic prohibited"): it accepts the difference of two pointers, but
        // no parts of a longer sum.
        let before = hide(u64::from(frame.length())) as u32;
        let Some(length) = reset::make(frame, &mut packet.flow) else { return false };
        let surplus = before.wrapping_sub(length);
        surplus == 0 || ctx.move_tail((surplus as i32).wrapping_neg()).is_some()
    }
}

/// Whether this CPU may send one more answer, an RST or an ICMP error. Each answer moves the time at which the next one is due;
/// that time may be ahead of the clock by a burst.
#[inline(always)]
pub(crate) fn may_send() -> bool {
    let (Some(due), Some(interval)) = (maps::reset_due(), maps::reset_interval()) else {
        return false;
    };
    let interval = interval.load();
    let now = now();
    let next = due.load().max(now);
    if interval == 0 || next - now > BURST_NS {
        return false;
    }
    due.store(next.wrapping_add(interval));
    true
}
