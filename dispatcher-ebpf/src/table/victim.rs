//! Chooses the entry of a full bucket that gives way to a new connection.
//!
//! Nearly all of it is arithmetic without branches, as in [`super::insert`].

use dispatcher_common::connection::{EXPIRY_CLASSES, STAMP_BITS, State, WAYS, Way};

use crate::table::tracking::{AHEAD, IDLE_TICKS};

/// Classes ([`Way::expiry_class`]) that any new flow may evict before they expire, oldest first: UDP half-open and
/// established, TCP half-open and aborted.
const EVICTABLE: u64 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5;
/// What a new flow may evict as a last resort, if it is idle: an established TCP connection without a mark, which a client opens
/// with two packets. Indexed by the upper two bits of the way, with its state above them.
const UNPROVEN: u64 = 1 << (0b10 | (State::Established as u64) << 2);

/// Bits of a rank below age and expiry: the number of the way, counted down.
const NUMBER_BITS: u32 = 4;

/// How well a way in use suits a new flow. Above the way's number: 0 if not at all, else the age with two bits above it. None of
/// these is set for a last resort, the lower one for an entry that may be evicted at any time, both for an expired entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

impl Rank {
    /// The worst: no way at all.
    pub const NONE: Self = Self(0);

    /// The rank of a way's word. `expiry` is its class's: idle ticks after which it is free.
    #[inline(always)]
    #[must_use]
    pub fn of(way: Way, number: usize, now: u64, expiry: u64) -> Self {
        let age = way.age(now.wrapping_add(AHEAD));
        let is_expired = (expiry + AHEAD).wrapping_sub(age) >> 63;
        let is_evictable = (EVICTABLE >> way.expiry_class() & 1) | is_expired;
        let is_idle = (IDLE_TICKS - 1 + AHEAD).wrapping_sub(age) >> 63;
        let is_unproven = (UNPROVEN >> (way.0 >> 62 | (way.0 >> 14 & 3) << 2)) & is_idle;
        let tier = is_expired << 1 | is_evictable;
        let idle = (tier << STAMP_BITS | age) & (is_evictable | is_unproven).wrapping_neg();
        Self(idle << NUMBER_BITS | (15 - number as u64))
    }

    /// The better of two. Ranks have far fewer than 63 bits, so the difference's sign tells.
    #[inline(always)]
    #[must_use]
    pub fn better(self, other: Self) -> Self {
        let is_worse = self.0.wrapping_sub(other.0) >> 63;
        Self(self.0 ^ (self.0 ^ other.0) & is_worse.wrapping_neg())
    }

    /// Whether a new flow may take the way.
    #[inline(always)]
    #[must_use]
    pub const fn is_takeable(self) -> bool {
        self.0 >> NUMBER_BITS != 0
    }

    /// Whether a new flow may take the way only if there is no other.
    #[inline(always)]
    #[must_use]
    pub const fn is_last_resort(self) -> bool {
        self.0 >> (NUMBER_BITS + STAMP_BITS) == 0
    }

    /// The number of the way.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> usize {
        (15 - (self.0 & 15)) as usize & (WAYS - 1)
    }
}

/// The rank of the way of a full bucket that suits a new flow best. `load` yields a way's word, `expiry` the idle ticks of
/// an expiry class.
#[inline(always)]
#[must_use]
pub fn best(load: impl Fn(usize) -> Way, now: u64, expiry: impl Fn(usize) -> u64) -> Rank {
    let mut best = Rank::NONE;
    let mut number = 0;
    while number < WAYS {
        let way = load(number);
        let ticks = expiry(way.expiry_class() & (EXPIRY_CLASSES - 1));
        best = best.better(Rank::of(way, number, now, ticks));
        number += 1;
    }
    best
}

/// As [`best`], for a bucket of TCP connections that are half-open, aborted, or established and not expired, as most are in a
/// flood. For any other bucket, and if connections may go only as a last resort: [`Rank::NONE`]. `established`: idle ticks after
/// which established connections expire.
///
/// With branches, which nearly always go the same way: a third of the instructions of [`best`].
#[inline(always)]
#[must_use]
pub fn oldest_half_open(load: impl Fn(usize) -> Way, now: u64, established: u64) -> Rank {
    let now = now.wrapping_add(AHEAD);
    let mut best = Rank::NONE;
    let mut number = 0;
    while number < WAYS {
        let way = load(number);
        let age = way.age(now);
        match way.0 & KIND {
            HALF_OPEN | ABORTED => {
                let evictable = 1 << STAMP_BITS | age;
                let rank = Rank(evictable << NUMBER_BITS | (15 - number as u64));
                if rank > best {
                    best = rank;
                }
            }
            ESTABLISHED if age <= established + AHEAD => {}
            _ => return Rank::NONE,
        }
        number += 1;
    }
    best
}

/// Protocol and state of a way.
const KIND: u64 = tcp(State::Closing);
/// An aborted connection of TCP.
const ABORTED: u64 = tcp(State::Aborted);
/// A half-open one.
const HALF_OPEN: u64 = tcp(State::HalfOpen);
/// An established one.
const ESTABLISHED: u64 = tcp(State::Established);

/// Protocol and state of a connection of TCP.
const fn tcp(state: State) -> u64 {
    Way::new(1 << 63, 0, state, 0).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: u64 = 1 << 63;
    const EXPIRY: [u64; EXPIRY_CLASSES] = [0, 7, 7, 7, 7, 7, 70, 7];

    fn way(protocol: u64, age: u64, state: State) -> Way {
        Way::new(protocol | 0x1234_5678_0000_0000, 1000 - age, state, 9)
    }

    fn best_of(ways: [Way; WAYS]) -> Option<usize> {
        let best = best(|i| ways[i], 1000, |class| EXPIRY[class]);
        best.is_takeable().then(|| best.number())
    }

    #[test]
    fn the_oldest_evictable_flow_goes_first() {
        let mut ways = [way(TCP, 1, State::Established); WAYS];
        assert_eq!(best_of(ways), None);
        ways[3] = way(TCP, 2, State::HalfOpen);
        assert_eq!(best_of(ways), Some(3));
        ways[6] = way(TCP, 5, State::Aborted);
        assert_eq!(best_of(ways), Some(6));
        ways[6] = way(TCP, 1, State::Aborted);
        ways[5] = way(0, 4, State::Established);
        ways[7] = way(0, 3, State::HalfOpen);
        assert_eq!(best_of(ways), Some(5));
        ways[5] = way(TCP, 4, State::Closing);
        assert_eq!(best_of(ways), Some(7));
        ways[7] = way(TCP, 0, State::Closing);
        assert_eq!(best_of(ways), Some(3));
    }

    #[test]
    fn an_expired_flow_goes_before_an_older_one_that_has_not_expired() {
        let mut ways = [way(TCP, 70, State::Established).marked(); WAYS];
        assert_eq!(best_of(ways), None);
        ways[4] = way(TCP, 7, State::HalfOpen);
        assert_eq!(best_of(ways), Some(4));
        ways[2] = way(TCP, 71, State::Established);
        assert_eq!(best_of(ways), Some(2));
        ways[2] = way(TCP, 8, State::Closing);
        assert_eq!(best_of(ways), Some(2));
    }

    #[test]
    fn a_flooded_bucket_is_ranked_alike_by_both() {
        let kinds = [
            (TCP, State::HalfOpen),
            (TCP, State::Established),
            (TCP, State::Aborted),
            (TCP, State::Closing),
            (0, State::HalfOpen),
        ];
        let mut simple = 0;
        for seed in 0..20_000_u64 {
            let random = |i: usize| (seed * 8 + i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let ways: [Way; WAYS] = core::array::from_fn(|i| {
                // One in eight buckets has all kinds.
                let kind = random(i) as usize % if seed % 8 == 0 { 5 } else { 3 };
                let way = way(kinds[kind].0, (random(i) >> 8) % 80, kinds[kind].1);
                if random(i) >> 16 & 1 == 0 { way } else { way.marked() }
            });
            let best = best(|i| ways[i], 1000, |class| EXPIRY[class]);
            let oldest = oldest_half_open(|i| ways[i], 1000, EXPIRY[6]);
            if oldest != Rank::NONE {
                simple += 1;
                assert_eq!(
                    (oldest.number(), true),
                    (best.number(), best.is_takeable()),
                    "{ways:?}"
                );
            }
        }
        assert!(simple > 10_000, "{simple}");
    }

    #[test]
    fn an_idle_unproven_connection_is_the_last_resort() {
        let proven = way(TCP, 70, State::Established).marked();
        let mut ways = [proven; WAYS];
        for (age, want) in [(0, None), (1, None), (2, Some(6)), (70, Some(6))] {
            ways[6] = way(TCP, age, State::Established);
            assert_eq!(best_of(ways), want, "{age}");
        }
        let rank = |ways: [Way; WAYS]| best(|i| ways[i], 1000, |class| EXPIRY[class]);
        assert!(rank(ways).is_takeable() && rank(ways).is_last_resort());
        ways[2] = way(TCP, 71, State::Established);
        assert_eq!((best_of(ways), rank(ways).is_last_resort()), (Some(2), false));
        for state in [State::HalfOpen, State::Aborted] {
            ways[2] = way(TCP, 0, state);
            assert_eq!((best_of(ways), rank(ways).is_last_resort()), (Some(2), false));
        }
        ways[6] = way(TCP, 69, State::Closing);
        ways[2] = proven;
        assert_eq!(best_of([proven; WAYS]), None);
        ways[6] = Way::new(TCP, 1000 + AHEAD, State::Established, 9);
        assert_eq!(best_of(ways), None, "touched meanwhile");
    }

    #[test]
    fn ages_survive_the_wrap_of_the_stamp() {
        let old = Way::new(TCP, 4095, State::HalfOpen, 1);
        let young = Way::new(TCP, 4097, State::HalfOpen, 1);
        let now = 4098;
        assert!(Rank::of(old, 0, now, 7) > Rank::of(young, 0, now, 7));
    }

    #[test]
    fn a_flow_touched_after_the_packet_read_the_clock_is_young() {
        for ahead in 1..=AHEAD {
            let mut ways = [Way::new(TCP, 1000 + ahead, State::Established, 1); WAYS];
            assert_eq!(best_of(ways), None, "{ahead} ahead");
            ways[5] = way(TCP, 0, State::HalfOpen);
            ways[6] = Way::new(TCP, 1000 + ahead, State::HalfOpen, 1);
            assert_eq!(best_of(ways), Some(5), "{ahead} ahead");
        }
    }
}
