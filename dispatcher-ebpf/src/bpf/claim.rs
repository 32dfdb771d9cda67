//! How a new flow gets a way of the table: survey both buckets, take the best way, make sure it is the only one.

use dispatcher_common::{
    connection::{BIAS, State, WAYS, Way},
    flow::{first_bucket, second_bucket},
};
use dispatcher_ebpf::occupancy::{Rank, Survey, lowest, matching, survey};

use super::{
    config,
    maps::{self, Expiry, Ways},
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
    let (Some(expiry), Some(buckets)) = (maps::expiry(), buckets(packet.hash)) else {
        return Claim::Full;
    };
    let claimed = Way::new(packet.hash, packet.tick, State::HalfOpen, slot);
    let mut missed = Claim::Full;
    for _ in 0..ATTEMPTS {
        let (ways, rank) = best(packet, buckets, expiry);
        if !rank.is_takeable() {
            return Claim::Full;
        }
        let word = ways.word(rank.number());
        let old = Way(word.load());
        let ticks = expiry.ticks(old.expiry_class());
        // The way may have been touched, or taken by another new flow, since the survey.
        if Rank::of(old, rank.number(), packet.tick, ticks) == rank
            && word.replace(old.0, claimed.0)
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

/// The better bucket and its best way: the second only if the first is nearly full and the second less so.
#[inline(always)]
fn best(packet: &Packet, buckets: [Ways; 2], expiry: Expiry) -> (Ways, Rank) {
    let look = |ways: Ways| -> Survey {
        survey(|number| ways.way(number), packet.tick, |class| expiry.ticks(class))
    };
    let [first, second] = buckets;
    let one = look(first);
    if one.used >= BIAS {
        let two = look(second);
        if two.used < one.used || one.used == WAYS as u64 && two.best > one.best {
            return (second, two.best);
        }
    }
    (first, one.best)
}

/// Gives the way back if the flow has another. Two CPUs may both withdraw: they then try again.
#[inline(always)]
fn settle(packet: &Packet, buckets: [Ways; 2], word: Word, claimed: Way) -> Claim {
    let [first, second] = buckets;
    let in_first = matching(|number| first.way(number), packet.hash);
    let mut in_second = 0;
    if !first.is(second) {
        in_second = matching(|number| second.way(number), packet.hash);
    }
    let all = in_first | in_second << WAYS;
    if all & all.wrapping_sub(1) == 0 {
        return Claim::Entered;
    }
    let _ = word.replace(claimed.0, 0);
    Claim::Withdrawn(survivor(packet, first).or_else(|| survivor(packet, second)))
}

#[inline(always)]
fn survivor(packet: &Packet, ways: Ways) -> Option<u32> {
    let found = matching(|number| ways.way(number), packet.hash);
    if found == 0 {
        return None;
    }
    let way = ways.way(lowest(found));
    (way.matches(packet.hash) && way.state() != State::Free).then(|| way.slot())
}
