//! The members of a schedule: every backend in its ring, once.

use dispatcher_common::{
    backend::NEW,
    limits::MAX_BACKENDS_PER_SERVICE,
    service::{Schedule, ServiceId},
};
use dispatcher_ebpf::{barrier::hide, choose::least::Least};

use crate::bpf::{backend::load, global::global, maps};

/// Members tried in one run: the verifier walks a run once for each possible number of members.
pub(super) const RUN: u64 = 32;

global! {
    /// Any member that takes connections, tried from a given one on.
    ///
    /// This is one loop over all members, not in runs: the chain of calls that leads here has no room for another function. The
    /// loop's only branches leave it: the verifier would follow any other branch once per round.
    pub(super) fn any(service: ServiceId, ring: Schedule, from: u64) -> Option<u32>
    as dispatcher_any {
        let members = u64::from(maps::members(ring));
        let mut number = u64::from(position(from, members as u32));
        for tried in 0..MAX_BACKENDS_PER_SERVICE as u64 {
            if tried >= members {
                break;
            }
            if let Some(member) = member_apart(service, ring, number as u32) {
                return Some(member.slot());
            }
            number = wrapped(number + 1, members);
        }
        None
    }

    /// As [`member`], in a function that the verifier walks once, not once per member.
    fn member_apart(service: ServiceId, ring: Schedule, number: u32) -> Option<Least>
    as dispatcher_member {
        member(service, ring, number)
    }
}

/// A member of a schedule, if it takes connections.
#[inline(always)]
pub(super) fn member(service: ServiceId, ring: Schedule, number: u32) -> Option<Least> {
    let slot = maps::member(ring, number)?;
    let (active, share) = load(service, slot, NEW)?;
    Some(Least::new(slot, active, share.weight()))
}

/// A turn modulo the ring's length. Cursors rarely exceed 32 bits, and the narrow division is much faster.
#[inline(always)]
pub(super) const fn position(turn: u64, length: u32) -> u32 {
    // Not zero, or the compiler adds a panic.
    let length = if length == 0 { 1 } else { length };
    if turn >> 32 == 0 { turn as u32 % length } else { (turn % length as u64) as u32 }
}

/// A number below that of members, unchanged; the number of members itself becomes 0.
#[inline(always)]
fn wrapped(number: u64, members: u64) -> u64 {
    // All bits if they differ: both are far below 2⁶³. The barrier is for the verifier, which otherwise follows a branch in every
    // round (194,000 instructions walked become 219,000).
    let differs = ((number ^ members).wrapping_neg().cast_signed() >> 63).cast_unsigned();
    number & hide(differs)
}
