//! The overflow map: connections whose buckets were both full of entries that must stay.

use dispatcher_common::connection::{State, Way};

use super::count;
use crate::bpf::{maps, packet::Packet};

/// `-EEXIST`: another CPU entered the same flow.
const EXISTS: i32 = -17;

/// Enters a new flow with a slot; false if the overflow map is full, too.
#[inline(always)]
pub(crate) fn enter(packet: &Packet, slot: u32) -> bool {
    let way = Way::new(packet.hash, packet.tick, State::HalfOpen, slot);
    count::raise(way);
    match maps::insert_overflow(packet.hash, way) {
        Ok(()) => {
            if let Some(entries) = maps::overflow_entries() {
                entries.fetch_add(1);
            }
            true
        }
        Err(error) => {
            count::lower(way);
            error == EXISTS
        }
    }
}
