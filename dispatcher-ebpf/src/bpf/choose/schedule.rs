//! Chooses a backend by the service's scheduler: the next of the ring, the one at a hash, or the best of all members.

use dispatcher_common::{
    backend::NEW,
    flow::schedule_hash,
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::parse::FlowWords;

use super::{
    least,
    members::{any, position},
    sampled,
};
use crate::bpf::{backend::takes, config, maps, shared_word::Word};

/// Positions of a ring that are tried before all members are tried. The controller keeps unusable backends out of rings: these
/// tries bridge the moment in which it swaps a ring or changes a backend, and skip backends that are full.
const TRIES: u32 = 8;

/// The source of backends: the schedule of a service, or that of one of its rules.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// Ring and members.
    pub(super) schedule: Word,
    /// Next position of the ring.
    pub(super) cursor: Word,
}

/// The slot of a new connection, by the service's scheduler.
#[inline(always)]
pub(super) fn next(
    service: ServiceId,
    scheduler: u8,
    source: Source,
    flow: &FlowWords,
) -> Option<u32> {
    let ring = ring(source)?;
    let position = match scheduler {
        scheduler::LEAST | scheduler::WEIGHTED_LEAST => {
            return least::best(service, ring, scheduler);
        }
        scheduler::RESPONSE | scheduler::BYTES => return sampled::best(service, ring, scheduler),
        _ if is_hashed(scheduler) => hashed(scheduler, ring, flow),
        _ => in_turn(ring, source.cursor),
    };
    pick(service, ring, position)
}

/// Whether a service places all its connections by hash, so that a packet's backend is known without an entry.
#[inline(always)]
pub(super) const fn is_hashed(scheduler: u8) -> bool {
    scheduler == scheduler::FLOW_HASH || scheduler == scheduler::CLIENT_HASH
}

/// The position whose turn it is. Each connection moves the cursor once, so that shares are exact.
#[inline(always)]
fn in_turn(ring: Schedule, cursor: Word) -> u32 {
    position(cursor.fetch_add(1), ring.length())
}

/// The slot that a hash selects, of the flow or of its client's address: the same for all packets of the flow while the ring does
/// not change.
#[inline(always)]
pub(super) fn by_hash(
    service: ServiceId,
    scheduler: u8,
    source: Source,
    flow: &FlowWords,
) -> Option<u32> {
    let ring = ring(source)?;
    pick(service, ring, hashed(scheduler, ring, flow))
}

/// The position that the hash selects.
#[inline(always)]
fn hashed(scheduler: u8, ring: Schedule, flow: &FlowWords) -> u32 {
    let mut words = flow.words();
    if scheduler == scheduler::CLIENT_HASH {
        let [a, b, c, d, ..] = words;
        words = [a, b, c, d, 0, 0, 0, 0, 0, 0];
    }
    let hash = schedule_hash(words, config::schedule_keys());
    position(hash >> 32, ring.length())
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
    any(service, ring, u64::from(position))
}
