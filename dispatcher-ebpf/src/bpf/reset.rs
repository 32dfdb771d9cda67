//! Is a client told that its connection is over? By an RST, which it acts on at once, where it else would wait.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_adjust_tail, programs::XdpContext};
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    barrier::hide,
    outcome::{Exit, Outcome},
    rewrite::reset,
    table::tracking::RST,
};

use super::{
    clock::now,
    maps,
    packet::{Packet, frame},
    table::tracking,
    verdict,
};

/// Answers that a CPU may send at once, as the time in which so many may be sent: it must be some of the clock's steps.
const BURST_NS: u64 = 100_000_000;

/// Answers a packet with an RST that ends its connection, or, where that may not be, lets it leave; `exit` is a packed
/// [`Outcome`]. A global function: see [`super::full_path`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_reset(ctx: *mut xdp_md, packet: *mut Packet, exit: u64) -> u32 {
    // SAFETY: the callers pass their own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    let Err(exit) = Outcome(exit).result() else { return 0 };
    // An RST is never answered, or two could go on for ever.
    let is_due = packet.is_tcp() && packet.flags & u32::from(RST) == 0 && may_send();
    if is_due && dispatcher_answer(ctx, packet) != 0 {
        tracking::close(packet);
        return verdict::leave(Exit::of(exit.service, Reason::Reset), packet.bytes);
    }
    verdict::leave(exit, packet.bytes)
}

/// Turns the frame into the answer, and yields 1 if that could be done. A global function, whose stack is not in use while
/// the connection ends.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_answer(ctx: *mut xdp_md, packet: *mut Packet) -> u64 {
    // SAFETY: the caller passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    u64::from(answer(ctx, packet))
}

#[inline(always)]
fn answer(ctx: *mut xdp_md, packet: &mut Packet) -> bool {
    let frame = frame(&XdpContext::new(ctx));
    // Hidden: the verifier takes the difference of two pointers, but not parts of a longer sum.
    let before = hide(u64::from(frame.length())) as u32;
    let surplus = match reset::make(frame, &mut packet.flow) {
        Some(length) => before.wrapping_sub(length),
        None => return false,
    };
    // SAFETY: the context is the program's; no pointer into the frame is used after this.
    surplus == 0 || unsafe { bpf_xdp_adjust_tail(ctx, (surplus as i32).wrapping_neg()) } == 0
}

/// Whether this CPU may send one more answer of its own, an RST or an ICMP error: each pushes the time on at which the next is due, and that may be ahead of the clock
/// by a burst.
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
