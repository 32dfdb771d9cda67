//! The members of a schedule: each backend that is in its ring, once.

use dispatcher_common::{backend::NEW, limits::MAX_BACKENDS_PER_SERVICE, service::Schedule};
use dispatcher_ebpf::{barrier::hide, choose::least::Least};

use crate::bpf::{backend::load, maps};

/// No slot.
pub(super) const NOBODY: u32 = u32::MAX;

/// Members tried in one go: the verifier walks every number of them.
pub(super) const RUN: u64 = 32;

/// A slot as a global function yields it.
#[inline(always)]
pub(super) fn some(slot: u64) -> Option<u32> {
    (slot as u32 != NOBODY).then_some(slot as u32)
}

/// A turn modulo the ring's length. Cursors get beyond 32 bits seldom, and the narrow division is the faster one by far.
#[inline(always)]
pub(super) const fn position(turn: u64, length: u32) -> u32 {
    // Not zero, or the compiler adds a panic.
    let length = if length == 0 { 1 } else { length };
    if turn >> 32 == 0 { turn as u32 % length } else { (turn % length as u64) as u32 }
}

/// A member of a schedule that takes connections as a [`Least`] word, [`UNAVAILABLE`] if it takes none.
///
/// A global function, as those that call it: the verifier walks it once, not once for every member.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_member(service: u64, ring: u64, number: u64) -> u64 {
    member(service, ring, number)
}

#[inline(always)]
pub(super) fn member(service: u64, ring: u64, number: u64) -> u64 {
    let Some(slot) = maps::member(Schedule(ring), number as u32) else { return UNAVAILABLE };
    match load(service as u32, slot, NEW) {
        Some((active, share)) => Least::new(slot, active, share.weight()).0,
        None => UNAVAILABLE,
    }
}

/// No member that takes connections.
pub(super) const UNAVAILABLE: u64 = u64::MAX;

/// Any member that takes connections, tried from an arbitrary one on; [`NOBODY`] if there is none.
///
/// In one loop over all of them, not in runs: a chain of calls leads here that has no room for another function. Its body
/// has no branch but those that leave it: the verifier would follow each from every round on.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn dispatcher_any(service: u64, ring: u64, from: u64) -> u64 {
    let members = u64::from(maps::members(Schedule(ring)));
    let mut number = u64::from(position(from, members as u32));
    for tried in 0..MAX_BACKENDS_PER_SERVICE as u64 {
        if tried >= members {
            break;
        }
        let member = dispatcher_member(service, ring, number);
        if member != UNAVAILABLE {
            return u64::from(Least(member).slot());
        }
        number = wrapped(number + 1, members);
    }
    u64::from(NOBODY)
}

/// A number up to that of members, which is 0.
#[inline(always)]
fn wrapped(number: u64, members: u64) -> u64 {
    // All bits where they differ: both are far below 2⁶³.
    let differs = (hide(number ^ members).wrapping_neg().cast_signed() >> 63).cast_unsigned();
    number & hide(differs)
}
