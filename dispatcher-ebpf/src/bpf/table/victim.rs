//! Chooses the entry of two full buckets that gives way to a new connection.

use dispatcher_common::connection::{State, Way};
use dispatcher_ebpf::table::victim::{best, oldest_half_open};

use super::position::Position;
use crate::bpf::{
    global::global,
    maps::{self, Ways},
};

/// The position of a way that has expired, or else may be evicted, in two full buckets. Usually the first bucket suffices.
#[inline(always)]
pub(crate) fn find([first, second]: [u32; 2], in_first: Ways, tick: u64) -> Position {
    let Some(expiry) = maps::expiry() else { return Position::NOWHERE };
    let established = expiry.ticks(ESTABLISHED);
    let oldest = oldest_half_open(|number| in_first.way(number), tick, established);
    if oldest.is_takeable() {
        return Position::new(first, oldest.number());
    }
    let best = best_in(first, tick);
    if best != Position::NOWHERE && !best.is_last_resort() {
        return best;
    }
    let other = best_in(second, tick);
    if other != Position::NOWHERE && !other.is_last_resort() || best == Position::NOWHERE {
        return other;
    }
    best
}

/// Expiry class of established TCP connections.
const ESTABLISHED: usize = Way::new(1 << 63, 0, State::Established, 0).expiry_class();

global! {
    /// The position in a full bucket that suits a new connection best.
    fn best_in(bucket: u32, tick: u64) -> Position as dispatcher_best {
        let (Some(ways), Some(expiry)) = (maps::ways(bucket), maps::expiry()) else {
            return Position::NOWHERE;
        };
        let rank = best(|number| ways.way(number), tick, |class| expiry.ticks(class));
        if !rank.is_takeable() {
            return Position::NOWHERE;
        }
        let position = Position::new(bucket, rank.number());
        if rank.is_last_resort() { position.last_resort() } else { position }
    }
}
