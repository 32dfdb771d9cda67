//! What a bucket holds: which ways are a flow's, and which way a new flow may take.
//!
//! All of it is arithmetic without branches, and hidden from LLVM, which would put the branches back: the verifier then
//! walks a bucket once instead of 2⁸ times.

use dispatcher_common::connection::{EXPIRY_CLASSES, FINGERPRINT_SHIFT, STAMP_BITS, WAYS, Way};

use crate::barrier::hide;

/// Classes ([`Way::expiry_class`]) that any new flow may evict before they expire, oldest first: UDP half-open and
/// established, TCP half-open.
const EVICTABLE: u64 = 1 << 1 | 1 << 2 | 1 << 5;

/// Bits of a rank below age and expiry: the number of the way, counted down.
const NUMBER_BITS: u32 = 4;
/// The bit of a rank that says free or expired.
const FREE_BIT: u32 = 20 + NUMBER_BITS;

/// How well a way suits a new flow: 0 in the upper bits if not at all, higher the longer idle, highest if free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

impl Rank {
    /// The worst: no way at all.
    pub const NONE: Self = Self(0);

    /// The rank of a way's word. `expiry` is its class's: idle ticks after which it is free.
    #[inline(always)]
    #[must_use]
    pub fn of(way: Way, number: usize, now: u64, expiry: u64) -> Self {
        let age = way.age(now);
        let state = way.0 >> 14 & 3;
        let free = hide((state.wrapping_sub(1) | expiry.wrapping_sub(age)) >> 63);
        let evictable = hide(EVICTABLE >> way.expiry_class() & 1);
        let idle = (age + 1) & evictable.wrapping_neg();
        Self(free << FREE_BIT | idle << NUMBER_BITS | (15 - number as u64))
    }

    /// The better of two. Ranks have far fewer than 63 bits, so the difference's sign tells.
    #[inline(always)]
    #[must_use]
    pub fn better(self, other: Self) -> Self {
        let is_worse = hide(self.0.wrapping_sub(other.0) >> 63);
        Self(self.0 ^ (self.0 ^ other.0) & is_worse.wrapping_neg())
    }

    /// Whether a new flow may take the way.
    #[inline(always)]
    #[must_use]
    pub const fn is_takeable(self) -> bool {
        self.0 >> NUMBER_BITS != 0
    }

    /// Whether the way is free or has expired: 1 or 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> u64 {
        self.0 >> FREE_BIT
    }

    /// The number of the way.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> usize {
        hide(15 - (self.0 & 15)) as usize & (WAYS - 1)
    }
}

/// Best way of a bucket for a new flow, and how many ways are in use.
#[derive(Clone, Copy, Debug)]
pub struct Survey {
    /// Rank of the best way.
    pub best: Rank,
    /// Ways that are neither free nor expired.
    pub used: u64,
}

/// Looks at all ways of a bucket. `load` yields a way's word, `expiry` the idle ticks of an expiry class.
#[inline(always)]
#[must_use]
pub fn survey(load: impl Fn(usize) -> Way, now: u64, expiry: impl Fn(usize) -> u64) -> Survey {
    let mut best = Rank::NONE;
    let mut used = 0;
    let mut number = 0;
    while number < WAYS {
        let way = load(number);
        let rank = Rank::of(way, number, now, expiry(way.expiry_class() & (EXPIRY_CLASSES - 1)));
        used += 1 - rank.is_free();
        best = best.better(rank);
        number += 1;
    }
    Survey { best, used }
}

/// The ways of a bucket that are in use and may be the flow's with this hash: a bit each.
#[inline(always)]
#[must_use]
pub fn matching(load: impl Fn(usize) -> Way, hash: u64) -> u64 {
    let mut found = 0;
    let mut number = 0;
    while number < WAYS {
        let word = load(number).0;
        let differs = hide((word ^ hash) >> FINGERPRINT_SHIFT);
        let used = hide((word >> 14 & 3) + 3) >> 2;
        found |= hide(differs.wrapping_sub(1) >> 63 & used) << number;
        number += 1;
    }
    found
}

/// The lowest way of a non-empty [`matching`] set, without a branch. Its bound is kept in the verifier's sight: kernel 6.1
/// loses it where bits are put together.
#[inline(always)]
#[must_use]
pub fn lowest(set: u64) -> usize {
    let bit = set & set.wrapping_neg();
    let number = (bit & 0xaa != 0) as u64
        | ((bit & 0xcc != 0) as u64) << 1
        | ((bit & 0xf0 != 0) as u64) << 2;
    hide(number) as usize & (WAYS - 1)
}

/// Ages are cut to the stamp's width: a rank has room for them.
const _: () = assert!(STAMP_BITS < 20);

#[cfg(test)]
mod tests {
    use dispatcher_common::connection::State;

    use super::*;

    const TCP: u64 = 1 << 63;
    const EXPIRY: [u64; EXPIRY_CLASSES] = [0, 7, 7, 7, 0, 7, 70, 7];

    fn way(protocol: u64, age: u64, state: State) -> Way {
        Way::new(protocol | 0x1234_5678_0000_0000, 1000 - age, state, 9)
    }

    fn best(ways: [Way; WAYS]) -> Option<usize> {
        let survey = survey(|i| ways[i], 1000, |class| EXPIRY[class]);
        survey.best.is_takeable().then(|| survey.best.number())
    }

    #[test]
    fn a_free_way_comes_before_an_evictable_one() {
        let mut ways = [way(TCP, 5, State::HalfOpen); WAYS];
        ways[6] = Way(0);
        assert_eq!(best(ways), Some(6));
        assert_eq!(survey(|i| ways[i], 1000, |class| EXPIRY[class]).used, 7);
    }

    #[test]
    fn the_oldest_evictable_flow_goes_first() {
        let mut ways = [way(TCP, 1, State::Established); WAYS];
        assert_eq!(best(ways), None);
        ways[3] = way(TCP, 2, State::HalfOpen);
        ways[5] = way(0, 4, State::Established);
        ways[7] = way(0, 3, State::HalfOpen);
        assert_eq!(best(ways), Some(5));
        ways[5] = way(TCP, 4, State::Closing);
        assert_eq!(best(ways), Some(7));
        ways[7] = way(TCP, 0, State::Closing);
        assert_eq!(best(ways), Some(3));
    }

    #[test]
    fn an_expired_flow_is_free() {
        let mut ways = [way(TCP, 70, State::Established); WAYS];
        assert_eq!(best(ways), None);
        ways[2] = way(TCP, 71, State::Established);
        assert_eq!(best(ways), Some(2));
        ways[2] = way(TCP, 8, State::Closing);
        assert_eq!(best(ways), Some(2));
    }

    #[test]
    fn ages_survive_the_wrap_of_the_stamp() {
        let old = Way::new(TCP, 4095, State::HalfOpen, 1);
        let young = Way::new(TCP, 4097, State::HalfOpen, 1);
        let now = 4098;
        assert!(Rank::of(old, 0, now, 7) > Rank::of(young, 0, now, 7));
    }

    #[test]
    fn matching_finds_used_ways_of_the_fingerprint_only() {
        let hash = 0x0000_0000_0fff_ffff; // the fingerprint of a free way's word
        let mut ways = [Way(0); WAYS];
        assert_eq!(matching(|i| ways[i], hash), 0);
        ways[4] = Way::new(hash, 3, State::HalfOpen, 1);
        ways[1] = Way::new(hash, 9, State::Closing, 2);
        ways[0] = Way::new(hash | 1 << 28, 9, State::Closing, 2);
        assert_eq!(matching(|i| ways[i], hash), 0b1_0010);
    }

    #[test]
    fn lowest_is_the_first_bit() {
        for set in 1..256_u64 {
            assert_eq!(lowest(set), set.trailing_zeros() as usize);
        }
    }
}
