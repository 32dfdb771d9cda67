//! Which backend takes a new connection: the next of the service's ring, the one a hash says, or the one with the fewest.

use dispatcher_common::{
    backend::{NEW, Share},
    flow::schedule_hash,
    limits::{MAX_BACKENDS_PER_SERVICE, MAX_COUNTED_BACKENDS},
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::{barrier::hide, choose::schedule::Least, parse::FlowWords};

use super::sampled;
use crate::bpf::{
    config,
    maps::{self, Backend},
    shared_word::Word,
    table::count,
};

/// Positions of a ring that are tried before all members are. The controller keeps unusable backends out of rings: this
/// bridges the moment in which a ring is swapped or a backend just changed, and skips backends that are full.
const TRIES: u32 = 8;

/// No slot.
pub(crate) const NOBODY: u32 = u32::MAX;

/// From what connections are placed: the schedule of a service, or that of one of its rules.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// Ring and members.
    pub(crate) schedule: Word,
    /// Next position of the ring.
    pub(crate) cursor: Word,
}

/// The slot of a new connection, by the service's scheduler.
#[inline(always)]
pub(crate) fn next(
    service: ServiceId,
    scheduler: u8,
    source: Source,
    flow: &FlowWords,
) -> Option<u32> {
    let ring = ring(source)?;
    match scheduler {
        scheduler::LEAST | scheduler::WEIGHTED_LEAST => least(service, scheduler, ring),
        scheduler::RESPONSE | scheduler::BYTES => sampled::best(service, ring, scheduler),
        _ if is_hashed(scheduler) => hashed(service, scheduler, ring, flow),
        _ => in_turn(service, ring, source.cursor),
    }
}

/// Whether a service places all its connections by hash, so that a packet tells its backend without an entry.
#[inline(always)]
pub(crate) const fn is_hashed(scheduler: u8) -> bool {
    scheduler == scheduler::FLOW_HASH || scheduler == scheduler::CLIENT_HASH
}

/// The slot whose turn it is. The cursor is taken once for each connection, so that shares are exact.
#[inline(always)]
fn in_turn(service: ServiceId, ring: Schedule, cursor: Word) -> Option<u32> {
    let turn = cursor.fetch_add(1);
    pick(service, ring, position(turn, ring.length()))
}

/// A turn modulo the ring's length. Cursors get beyond 32 bits seldom, and the narrow division is the faster one by far.
#[inline(always)]
const fn position(turn: u64, length: u32) -> u32 {
    // Not zero, or the compiler adds a panic.
    let length = if length == 0 { 1 } else { length };
    if turn >> 32 == 0 { turn as u32 % length } else { (turn % length as u64) as u32 }
}

/// The slot that a hash of the flow says, or of its client's address: the same for all packets of the flow while the ring
/// stays.
#[inline(always)]
pub(crate) fn by_hash(
    service: ServiceId,
    scheduler: u8,
    source: Source,
    flow: &FlowWords,
) -> Option<u32> {
    hashed(service, scheduler, ring(source)?, flow)
}

#[inline(always)]
fn hashed(service: ServiceId, scheduler: u8, ring: Schedule, flow: &FlowWords) -> Option<u32> {
    let mut words = flow.words();
    if scheduler == scheduler::CLIENT_HASH {
        let [a, b, c, d, ..] = words;
        words = [a, b, c, d, 0, 0, 0, 0, 0, 0];
    }
    let hash = schedule_hash(words, config::schedule_keys());
    pick(service, ring, position(hash >> 32, ring.length()))
}

/// The ring, if it has slots.
#[inline(always)]
fn ring(source: Source) -> Option<Schedule> {
    let ring = Schedule(source.schedule.load());
    (ring.length() != 0).then_some(ring)
}

/// The slot at a position of the ring, or the next one that takes connections.
#[inline(always)]
fn pick(service: ServiceId, ring: Schedule, mut position: u32) -> Option<u32> {
    for _ in 0..TRIES {
        let slot = maps::scheduled(ring, position)?;
        if takes(service, slot, NEW) {
            return Some(slot);
        }
        position += 1;
        if position >= ring.length() {
            position = 0;
        }
    }
    some(dispatcher_any(u64::from(service), ring.0, u64::from(position)))
}

/// Whether a slot is the service's, has a flag that says whom it takes, and is not full.
#[inline(always)]
pub(crate) fn takes(service: ServiceId, slot: u32, flag: u8) -> bool {
    load(service, slot, flag).is_some()
}

/// Active connections of a slot that takes some by [`takes`], and its share.
#[inline(always)]
pub(crate) fn load(service: ServiceId, slot: u32, flag: u8) -> Option<(u64, Share)> {
    let Backend { forward, service: owner, share } = maps::backend(slot);
    if forward.flags() & flag == 0 || owner != service {
        return None;
    }
    let count = count::count(slot);
    (!share.is_full(count)).then_some((count.active(), share))
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
fn member(service: u64, ring: u64, number: u64) -> u64 {
    let Some(slot) = maps::member(Schedule(ring), number as u32) else { return UNAVAILABLE };
    match load(service as u32, slot, NEW) {
        Some((active, share)) => Least::new(slot, active, share.weight()).0,
        None => UNAVAILABLE,
    }
}

/// No member that takes connections.
const UNAVAILABLE: u64 = u64::MAX;

/// Any member that takes connections, tried from an arbitrary one on; [`NOBODY`] if there is none.
///
/// In one loop over all of them, not in runs: a chain of calls leads here that has no room for another function. Its body
/// has no branch but those that leave it: the verifier would follow each from every round on.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_any(service: u64, ring: u64, from: u64) -> u64 {
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

/// The member with the fewest active connections, for its weight if the scheduler says so; the first of equals.
#[inline(always)]
fn least(service: ServiceId, scheduler: u8, ring: Schedule) -> Option<u32> {
    let is_weighted = scheduler == scheduler::WEIGHTED_LEAST;
    let least = dispatcher_least(u64::from(service), ring.0, u64::from(is_weighted));
    let slot = Least(least).slot();
    (slot != Least::NOBODY.slot()).then_some(slot)
}

/// Members tried in one go: the verifier walks every number of them.
pub(crate) const RUN: u64 = 32;

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_least(service: u64, ring: u64, is_weighted: u64) -> u64 {
    let members = maps::members(Schedule(ring));
    let mut least = Least::NOBODY.0;
    for run in 0..MAX_COUNTED_BACKENDS as u64 / RUN {
        if run * RUN >= u64::from(members) {
            break;
        }
        least = dispatcher_least_run(service, ring, is_weighted, run * RUN, least);
    }
    least
}

/// As [`dispatcher_least`], of the least so far and one run of members.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_least_run(
    service: u64,
    ring: u64,
    is_weighted: u64,
    from: u64,
    least: u64,
) -> u64 {
    let members = u64::from(maps::members(Schedule(ring)));
    let mut least = Least(least);
    for number in from..from + RUN {
        if number >= members {
            break;
        }
        let member = member(service, ring, number);
        if member != UNAVAILABLE {
            let member = Least(member);
            least = least.or(if is_weighted != 0 { member } else { member.unweighted() });
        }
    }
    least.0
}

/// A slot as a global function yields it.
#[inline(always)]
pub(crate) fn some(slot: u64) -> Option<u32> {
    (slot as u32 != NOBODY).then_some(slot as u32)
}
