//! Which backend takes a new connection: the next of the service's ring, the one a hash says, or the one with the fewest.

use dispatcher_common::{
    backend::NEW,
    flow::schedule_hash,
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::parse::FlowWords;

use super::{
    least::least,
    members::{dispatcher_any, position, some},
    sampled,
};
use crate::bpf::{backend::takes, config, maps, shared_word::Word};

/// Positions of a ring that are tried before all members are. The controller keeps unusable backends out of rings: this
/// bridges the moment in which a ring is swapped or a backend just changed, and skips backends that are full.
const TRIES: u32 = 8;

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
