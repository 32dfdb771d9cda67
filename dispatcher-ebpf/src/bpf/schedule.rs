//! Which backend takes a new connection: the next of the service's ring, or the one a hash says.

use dispatcher_common::{
    backend::NEW,
    flow::schedule_hash,
    service::{Schedule, ServiceId},
};
use dispatcher_ebpf::parse::FlowWords;

use super::{config, maps};

/// Positions tried. The controller keeps unusable backends out of rings: this only bridges the moment in which a ring is
/// swapped or a backend just changed.
const TRIES: u32 = 8;

/// The slot whose turn it is. The cursor is taken once for each connection, so that shares are exact.
#[inline(always)]
pub(super) fn in_turn(service: ServiceId) -> Option<u32> {
    let ring = ring(service)?;
    let (cursor, _) = maps::service_state(service)?;
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

/// The slot that a hash of the flow says: the same for all packets of the flow while the ring stays.
#[inline(always)]
pub(super) fn by_hash(service: ServiceId, flow: &FlowWords) -> Option<u32> {
    let ring = ring(service)?;
    let hash = schedule_hash(flow.words(), config::schedule_keys());
    pick(service, ring, (hash % u64::from(ring.length())) as u32)
}

/// The service's ring, if it has slots.
#[inline(always)]
fn ring(service: ServiceId) -> Option<Schedule> {
    let ring = Schedule(maps::policy(service)?.schedule.load());
    (ring.length() != 0).then_some(ring)
}

#[inline(always)]
fn pick(service: ServiceId, ring: Schedule, mut position: u32) -> Option<u32> {
    for _ in 0..TRIES {
        let slot = maps::scheduled(ring, position)?;
        if maps::forward(slot).flags() & NEW != 0 && maps::service_of(slot) == Some(service) {
            return Some(slot);
        }
        position += 1;
        if position >= ring.length() {
            position = 0;
        }
    }
    None
}
