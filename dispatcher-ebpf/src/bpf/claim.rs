//! How a new flow gets a way of the table: take a free one, or the best of both buckets, and make sure it is the only one.

use dispatcher_common::{
    connection::{State, Way},
    flow::{first_bucket, second_bucket},
};
use dispatcher_ebpf::occupancy::{Choice, Rank, best, choose, entries, free};

use super::{
    account, config,
    connection::in_bucket,
    maps::{self, Ways},
    pipeline::Packet,
    word::Word,
};

/// Attempts to take a way: others may take the best one first, or claim one for the same flow.
const ATTEMPTS: u32 = 3;

/// What became of a claim.
pub(super) enum Claim {
    /// The flow has a way.
    Entered,
    /// Another CPU claimed one for the same flow; its slot, if it is still there.
    Withdrawn(Option<u32>),
    /// Both buckets are full of flows that may not be evicted.
    Full,
}

/// Claims a way for a new flow on a slot's backend.
#[inline(always)]
pub(super) fn claim(packet: &Packet, slot: u32) -> Claim {
    let Some(buckets) = buckets(packet.hash) else { return Claim::Full };
    let claimed = Way::new(packet.hash, packet.tick, State::HalfOpen, slot);
    let mut missed = Claim::Full;
    for _ in 0..ATTEMPTS {
        let Some(Candidate { word, old }) = candidate(packet, buckets) else { return Claim::Full };
        if let Some(old) = old
            && account::replace(word, old, claimed)
        {
            match settle(packet, buckets, word, claimed) {
                // The other one withdrew, too. The flow's packets must not part: one of both has to enter it.
                Claim::Withdrawn(None) => missed = Claim::Withdrawn(None),
                settled => return settled,
            }
        }
    }
    missed
}

/// The flow's two buckets, which may be one.
#[inline(always)]
fn buckets(hash: u64) -> Option<[Ways; 2]> {
    let mask = config::bucket_mask();
    Some([maps::ways(first_bucket(hash, mask))?, maps::ways(second_bucket(hash, mask))?])
}

/// The way to take.
#[derive(Clone, Copy)]
struct Candidate {
    word: Word,
    /// What it holds; none if it has changed since it was chosen.
    old: Option<Way>,
}

#[inline(always)]
fn candidate(packet: &Packet, buckets: [Ways; 2]) -> Option<Candidate> {
    let [first, second] = buckets;
    let free_in = |ways: Ways| free(|number| ways.way(number));
    let old = Some(Way(0));
    match choose(free_in(first), || free_in(second)) {
        Some((Choice::First, number)) => Some(Candidate { word: first.word(number), old }),
        Some((Choice::Second, number)) => Some(Candidate { word: second.word(number), old }),
        None => occupied(packet, buckets),
    }
}

/// A way that has expired, or else may be evicted, of two full buckets. A look at the first usually suffices.
#[inline(always)]
fn occupied(packet: &Packet, [first, second]: [Ways; 2]) -> Option<Candidate> {
    let expiry = maps::expiry()?;
    let best_of = |ways: Ways| best(|i| ways.way(i), packet.tick, |class| expiry.ticks(class));
    let (mut ways, mut rank) = (first, best_of(first));
    if !rank.is_takeable() {
        (ways, rank) = (second, best_of(second));
        if !rank.is_takeable() {
            return None;
        }
    }
    let word = ways.word(rank.number());
    let old = Way(word.load());
    // The way may have been touched, or taken by another new flow, since.
    let ticks = expiry.ticks(old.expiry_class());
    let is_same = Rank::of(old, rank.number(), packet.tick, ticks) == rank;
    Some(Candidate { word, old: is_same.then_some(old) })
}

/// Gives the way back if the flow has another. Two CPUs may both withdraw: they then try again.
#[inline(always)]
fn settle(packet: &Packet, buckets: [Ways; 2], word: Word, claimed: Way) -> Claim {
    let [first, second] = buckets;
    let mut count = entries(|number| first.way(number), packet.hash);
    if !first.is(second) {
        count += entries(|number| second.way(number), packet.hash);
    }
    if count <= 1 {
        return Claim::Entered;
    }
    // If it has changed meanwhile it is a connection like any other, and counted as one.
    let _ = account::replace(word, claimed, Way(0));
    Claim::Withdrawn(survivor(packet, first).or_else(|| survivor(packet, second)))
}

#[inline(always)]
fn survivor(packet: &Packet, ways: Ways) -> Option<u32> {
    let way = ways.way(in_bucket(ways, packet.hash)?);
    (way.matches(packet.hash) && way.state() != State::Free).then(|| way.slot())
}
