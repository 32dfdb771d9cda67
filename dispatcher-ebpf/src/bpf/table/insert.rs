//! Enters a new connection: takes a free way, or the best of both buckets, and makes sure that the flow has one entry only.

use dispatcher_common::connection::{State, Way};
use dispatcher_ebpf::table::{
    insert::{Choice, choose, entries, free},
    victim::Rank,
};

use super::{
    count,
    position::{Position, buckets},
    victim,
};
use crate::bpf::{
    global::global,
    maps::{self, Ways},
    packet::Packet,
    shared_word::Word,
};

/// Attempts to take a way: others may take the best one first, or claim one for the same flow.
const ATTEMPTS: u32 = 3;

/// The result of a claim.
pub(crate) enum Claim {
    /// The flow has a way.
    Entered,
    /// Another CPU claimed a way for the same flow; its slot, if it is still there.
    Withdrawn(Option<u32>),
    /// Both buckets are full of flows that may not be evicted.
    Full,
}

/// Claims a way for a new flow on a slot's backend.
#[inline(always)]
pub(crate) fn claim(packet: &Packet, slot: u32) -> Claim {
    let claimed = Way::new(packet.hash, packet.tick, State::HalfOpen, slot);
    let mut missed = Claim::Full;
    for _ in 0..ATTEMPTS {
        let position = candidate(packet.hash, packet.tick);
        if position == Position::NOWHERE {
            return Claim::Full;
        }
        let Some(ways) = maps::ways(position.bucket()) else { return Claim::Full };
        let word = ways.word(position.number());
        let old = Way(word.load());
        if may_be_taken(position, old, packet) && count::replace(word, old, claimed) {
            match settle(packet, word, claimed) {
                // Both CPUs backed out; retry so that exactly one entry remains.
                Claim::Withdrawn(None) => missed = Claim::Withdrawn(None),
                settled @ (Claim::Entered | Claim::Withdrawn(Some(_)) | Claim::Full) => {
                    return settled;
                }
            }
        }
    }
    missed
}

global! {
    /// The position for a new connection. The verifier continues from here once, not once for each of the sixteen ways.
    fn candidate(hash: u64, tick: u64) -> Position as dispatcher_candidate {
        let [first, second] = buckets(hash);
        let (Some(in_first), Some(in_second)) = (maps::ways(first), maps::ways(second)) else {
            return Position::NOWHERE;
        };
        let free_in = |ways: Ways| free(|number| ways.way(number));
        match choose(free_in(in_first), || free_in(in_second)) {
            Some((Choice::First, number)) => Position::new(first, number).free(),
            Some((Choice::Second, number)) => Position::new(second, number).free(),
            None => victim::find([first, second], in_first, tick),
        }
    }
}

/// Whether a new flow may still take a way. Since it was chosen, its connection may have had a packet, or another new flow may
/// have taken it. If two CPUs enter the same flow at once, one must not evict the other's way.
#[inline(always)]
fn may_be_taken(position: Position, old: Way, packet: &Packet) -> bool {
    if position.is_free() {
        return old.0 == 0;
    }
    let ticks = || maps::expiry().map_or(u64::MAX >> 1, |expiry| expiry.ticks(old.expiry_class()));
    !old.matches(packet.hash)
        && (old.0 == 0 || Rank::of(old, 0, packet.tick, ticks()).is_takeable())
}

/// Frees the way again if the flow has another one. If two CPUs both withdraw, both try again.
#[inline(always)]
fn settle(packet: &Packet, word: Word, claimed: Way) -> Claim {
    let [first, second] = buckets(packet.hash);
    let (Some(in_first), Some(in_second)) = (maps::ways(first), maps::ways(second)) else {
        return Claim::Entered;
    };
    let mut count = entries(|number| in_first.way(number), packet.hash);
    if first != second {
        count += entries(|number| in_second.way(number), packet.hash);
    }
    if count <= 1 {
        return Claim::Entered;
    }
    // If this fails, the entry has changed meanwhile: it is a connection like any other, and stays counted.
    let _ = count::replace(word, claimed, Way(0));
    Claim::Withdrawn(survivor(packet, in_first).or_else(|| survivor(packet, in_second)))
}

#[inline(always)]
fn survivor(packet: &Packet, ways: Ways) -> Option<u32> {
    ways.find(packet.hash).map(|(_, way)| way.slot())
}
