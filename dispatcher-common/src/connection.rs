//! The connection table's word: one way, one u64, one compare-and-swap.
//!
//! ```text
//! 63                         28 27        16 15 14 13           0
//! | fingerprint (top bit: TCP) |   stamp    | state | backend slot |
//! ```
//!
//! The table is an array of 64-byte buckets of eight ways, shared by all CPUs and mapped by the controller. A flow lives
//! in one of two buckets ([`crate::flow::first_bucket`], [`crate::flow::second_bucket`]). Claim, touch, change of state
//! and release are each one 64-bit compare-and-swap by whoever makes the change; a free way is the word 0.

/// Ways of a bucket: 8 × 8 bytes are one cache line.
pub const WAYS: usize = 8;
/// A new flow goes to its second bucket only if the first holds at least this many and the second fewer.
pub const BIAS: u64 = 6;
/// Bits below the fingerprint.
pub const FINGERPRINT_SHIFT: u32 = 28;
/// Bits of the stamp; the controller's sweep must pass well within 2¹² ticks (4.9 h).
pub const STAMP_BITS: u32 = 12;
/// A tick is 2³² ns of the monotonic clock: 4.295 s.
pub const TICK_SHIFT: u32 = 32;
/// Nanoseconds of a tick.
pub const TICK_NS: u64 = 1 << TICK_SHIFT;

/// State of a way: two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum State {
    /// Nobody's.
    Free = 0,
    /// A SYN, a stray ACK or a first UDP packet was seen.
    HalfOpen = 1,
    /// The flow's next packet was seen, too.
    Established = 2,
    /// The client sent a FIN or an RST.
    Closing = 3,
}

impl State {
    /// The state of two bits.
    #[inline(always)]
    #[must_use]
    pub const fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Free,
            1 => Self::HalfOpen,
            2 => Self::Established,
            _ => Self::Closing,
        }
    }
}

/// Index of expiry tables: state + 4 for TCP.
pub const EXPIRY_CLASSES: usize = 8;

/// One way of the table, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Way(pub u64);

impl Way {
    /// The word of a flow with this hash. `stamp` is a tick, cut to its lower bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64, stamp: u64, state: State, slot: u32) -> Self {
        Self(
            hash >> FINGERPRINT_SHIFT << FINGERPRINT_SHIFT
                | (stamp & ((1 << STAMP_BITS) - 1)) << 16
                | (state as u64) << 14
                | slot as u64 & 0x3fff,
        )
    }

    /// Whether the way may be the flow's with this hash ([`crate::flow::table_hash`]): one that is empty is nobody's.
    #[inline(always)]
    #[must_use]
    pub const fn matches(self, hash: u64) -> bool {
        (self.0 ^ hash) >> FINGERPRINT_SHIFT == 0
    }

    /// Its state.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        State::of(self.0 >> 14)
    }

    /// Its backend slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0x3fff) as u32
    }

    /// Whether the flow is TCP.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        self.0 >> 63 != 0
    }

    /// Ticks since the last packet, modulo 2¹².
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u64) -> u64 {
        now.wrapping_sub(self.0 >> 16) & ((1 << STAMP_BITS) - 1)
    }

    /// Index into expiry tables ([`EXPIRY_CLASSES`]).
    #[inline(always)]
    #[must_use]
    pub const fn expiry_class(self) -> usize {
        (self.0 >> 14 & 3 | self.0 >> 63 << 2) as usize
    }
}

shared! {
    /// A bucket: one cache line of eight ways.
    pub struct Bucket [64] {
        /// The ways.
        pub ways: [u64; WAYS],
    }
}

shared! {
    /// The flow records of a bucket's ways.
    pub struct FlowBucket [320] {
        /// The records, at the numbers of their ways.
        pub flows: [crate::flow::Flow; WAYS],
    }
}

/// Buckets (a power of two) of a table for so many connections at the recommended fill.
#[must_use]
pub const fn buckets(capacity: u64) -> u64 {
    let ways = capacity * 100 / crate::limits::RECOMMENDED_FILL_PERCENT;
    let buckets = ways.div_ceil(WAYS as u64);
    if buckets < 2 { 2 } else { buckets.next_power_of_two() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_its_parts() {
        let hash = 0xABCD_EF01_2345_6789;
        let way = Way::new(hash, 0x1_2345, State::Established, 16_383);
        assert!(way.matches(hash) && way.is_tcp());
        assert_eq!((way.state(), way.slot()), (State::Established, 16_383));
        assert_eq!((way.age(0x1_2345), way.age(0x1_2350), way.age(0x1_2344)), (0, 11, 4095));
        assert_eq!(way.expiry_class(), 6);
    }

    #[test]
    fn a_table_has_room_at_the_recommended_fill() {
        assert_eq!(buckets(1_000_000), 1 << 18);
        assert_eq!(buckets(1), 2);
        assert!(buckets(10_000_000) * 8 * 60 / 100 >= 10_000_000);
    }
}
