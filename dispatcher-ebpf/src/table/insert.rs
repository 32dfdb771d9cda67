//! Chooses the free way that a new connection takes, and counts the entries of a flow.
//!
//! It is arithmetic without branches: the verifier walks a bucket once instead of 2⁸ times. Barriers keep LLVM from adding the
//! branches again.

use dispatcher_common::connection::{BIAS, FINGERPRINT_SHIFT, WAYS, Way, fingerprint};

use crate::barrier::hide;

/// The free ways of a bucket, one bit for each.
#[inline(always)]
#[must_use]
pub fn free(load: impl Fn(usize) -> Way) -> u64 {
    let mut found = 0;
    let mut number = 0;
    while number < WAYS {
        let word = load(number).0;
        // Verifier: otherwise LLVM makes branches (stack of `dispatcher_candidate`: 24 bytes become 88).
        found |= (hide(word | word.wrapping_neg()) >> 63) << number;
        number += 1;
    }
    found ^ 0xff
}

/// The bucket and the free way that a new flow takes, by what [`free`] returns for both buckets: the second bucket only if the
/// first holds at least [`BIAS`] entries and the second fewer than the first.
#[inline(always)]
#[must_use]
pub fn choose(first: u64, second: impl FnOnce() -> u64) -> Option<(Choice, usize)> {
    let one_less = without_lowest(first);
    if without_lowest(one_less) != 0 {
        return Some((Choice::First, lowest(first)));
    }
    let second = second();
    // The free ways that the second has more than the first. This is less work than counting both.
    let remains = match (first, one_less) {
        (0, _) => second,
        (_, 0) => without_lowest(second),
        _ => without_lowest(without_lowest(second)),
    };
    if remains != 0 {
        return Some((Choice::Second, lowest(second)));
    }
    if first == 0 { None } else { Some((Choice::First, lowest(first))) }
}

/// One of a flow's two buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// [`dispatcher_common::flow::first_bucket`].
    First,
    /// [`dispatcher_common::flow::second_bucket`].
    Second,
}

// A first bucket with more than two free ways holds fewer entries than `BIAS`.
const _: () = assert!(BIAS == WAYS as u64 - 2);

/// A set without its lowest way.
#[inline(always)]
const fn without_lowest(set: u64) -> u64 {
    set & set.wrapping_sub(1)
}

/// The number of ways of a bucket that may belong to the flow with this hash. A free way matches no hash ([`table_hash`]).
///
/// [`table_hash`]: dispatcher_common::flow::table_hash
#[inline(always)]
#[must_use]
pub fn entries(load: impl Fn(usize) -> Way, hash: u64) -> u64 {
    let mut count = 0;
    let mut number = 0;
    while number < WAYS {
        // Verifier: otherwise LLVM makes branches (stack of `dispatcher_enter`: 96 bytes become 112).
        let differs = hide((load(number).0 ^ hash) & fingerprint(hash)) >> FINGERPRINT_SHIFT;
        count += differs.wrapping_sub(1) >> 63;
        number += 1;
    }
    count
}

/// The lowest way of a non-empty set, without a branch: its bit times a de Bruijn sequence of eight bits is a row of a table.
#[inline(always)]
#[must_use]
pub fn lowest(set: u64) -> usize {
    let row = (((set & set.wrapping_neg()) * DE_BRUIJN) >> 3) & 0b11100;
    (NUMBERS >> row) as usize & (WAYS - 1)
}

/// Every three bits occur once among three neighbours of these eight bits.
const DE_BRUIJN: u64 = 0b0001_0111;
/// Four bits for every three of the sequence: by how much it was shifted.
const NUMBERS: u64 = 0x5637_4210;

#[cfg(test)]
mod tests {
    use dispatcher_common::connection::State;

    use super::*;

    const TCP: u64 = 1 << 63;

    #[test]
    fn free_ways_are_those_that_are_zero() {
        let mut ways = [Way::new(TCP, 1000, State::HalfOpen, 9); WAYS];
        assert_eq!(free(|i| ways[i]), 0);
        (ways[0], ways[6]) = (Way(0), Way(0));
        ways[3] = Way::new(1 << 62, 1000, State::HalfOpen, 9);
        assert_eq!(free(|i| ways[i]), 0b0100_0001);
        assert_eq!(free(|_| Way(0)), 0xff);
    }

    #[test]
    fn the_second_bucket_is_for_when_the_first_is_nearly_full() {
        let second = |free: u64| move || free;
        assert_eq!(choose(0b1110_0000, || unreachable!()), Some((Choice::First, 5)));
        assert_eq!(choose(0b1100_0000, second(0b0000_0111)), Some((Choice::Second, 0)));
        assert_eq!(choose(0b1100_0000, second(0b0000_0110)), Some((Choice::First, 6)));
        assert_eq!(choose(0, second(0b1000_0000)), Some((Choice::Second, 7)));
        assert_eq!(choose(0, second(0)), None);
    }

    #[test]
    fn entries_are_those_with_the_fingerprint() {
        let hash = TCP | 0x0000_0000_0fff_ffff;
        let mut ways = [Way(0); WAYS];
        assert_eq!(entries(|i| ways[i], hash), 0);
        ways[4] = Way::new(hash, 3, State::HalfOpen, 1);
        ways[1] = Way::new(hash, 9, State::Closing, 2);
        ways[0] = Way::new(hash | 1 << 28, 9, State::Closing, 2);
        assert_eq!(entries(|i| ways[i], hash), 2);
    }

    #[test]
    fn lowest_is_the_first_bit() {
        for set in 1..256_u64 {
            assert_eq!(lowest(set), set.trailing_zeros() as usize);
        }
    }
}
