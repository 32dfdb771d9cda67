//! The word of the connection table: each way is one u64, changed by one compare-and-swap.
//!
//! ```text
//! 63   62                      28 27        16 15 14 13           0
//! | TCP | mark | fingerprint     |   stamp    | state | backend slot |
//! ```
//!
//! The mark is the third bit of a TCP connection's state. Of UDP it is 1, and a part of the fingerprint ([`fingerprint`]).
//!
//! | state | mark | a TCP connection that is |
//! |---|---|---|
//! | 00, all else 0 | 0 | no connection: the way is free |
//! | 00 | 0 | aborted by a FIN: the client ended it before it was established |
//! | 00 | 1 | aborted by an RST |
//! | 01 | any | half-open |
//! | 10 | 0 | established, unproven: no payload of the client was seen |
//! | 10 | 1 | established, proven |
//! | 11 | 0 | closing by a FIN |
//! | 11 | 1 | closing by an RST |
//!
//! A table of layout version 5 is used unchanged ([`crate::maps::LAYOUT_VERSION`]). There the mark was a bit of the fingerprint,
//! so in any word it may have either value. So counts and timeouts depend on the two bits of the state alone. The mark decides
//! which entry of a full bucket gives way first, and which packets show that an ended connection continues. A wrong mark does no
//! harm there, and is soon corrected. No word of version 5 is aborted.
//!
//! The table is an array of 64-byte buckets of eight ways, shared by all CPUs and mapped by the controller. A flow lives
//! in one of two buckets ([`crate::flow::first_bucket`], [`crate::flow::second_bucket`]). Claim, touch, change of state
//! and release are one 64-bit compare-and-swap each; a free way is the word 0.

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

/// The mark of a TCP connection's word.
pub const MARK: u64 = 1 << 62;
/// Bits of the stamp in a word.
const STAMP: u64 = ((1 << STAMP_BITS) - 1) << 16;
/// Bits of the state in a word.
const STATE: u64 = 3 << 14;
/// Bits of the slot in a word.
pub(crate) const SLOT: u64 = crate::limits::MAX_SLOTS as u64 - 1;

/// State of a way that is not free: two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum State {
    /// TCP: the client ended the connection while it was half-open.
    Aborted = 0,
    /// A SYN, a stray ACK or a first UDP packet was seen.
    HalfOpen = 1,
    /// The flow's next packet was seen, too.
    Established = 2,
    /// The client sent a FIN or an RST after that.
    Closing = 3,
}

impl State {
    /// The state of two bits.
    #[inline(always)]
    #[must_use]
    pub const fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Aborted,
            1 => Self::HalfOpen,
            2 => Self::Established,
            _ => Self::Closing,
        }
    }
}

/// Index of expiry tables: state + 4 for TCP.
pub const EXPIRY_CLASSES: usize = 8;

/// The bits of a word that distinguish flows of either protocol: all above the stamp except the mark. In these bits alone, a
/// free way equals one UDP flow in 2³⁴; [`fingerprint`] distinguishes them.
pub const FINGERPRINT: u64 = (u64::MAX << FINGERPRINT_SHIFT) & !MARK;

/// The bits of a word that distinguish flows with this hash from others: all above the stamp; for TCP, except the mark.
#[inline(always)]
#[must_use]
pub const fn fingerprint(hash: u64) -> u64 {
    (u64::MAX << FINGERPRINT_SHIFT) ^ (hash >> 63) << 62
}

/// One way of the table, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Way(pub u64);

impl Way {
    /// The word of a flow with this hash; for TCP, without the mark. `stamp` is a tick, cut to its lower bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64, stamp: u64, state: State, slot: u32) -> Self {
        Self(
            hash & fingerprint(hash)
                | (stamp & ((1 << STAMP_BITS) - 1)) << 16
                | (state as u64) << 14
                | slot as u64 & SLOT,
        )
    }

    /// The same word of a TCP connection, with the mark.
    #[inline(always)]
    #[must_use]
    pub const fn marked(self) -> Self {
        Self(self.0 | MARK)
    }

    /// The same word, stamped with a tick.
    #[inline(always)]
    #[must_use]
    pub const fn touched(self, now: u64) -> Self {
        Self(self.0 & !STAMP | now << 16 & STAMP)
    }

    /// The same word with another [`Way::stage`].
    #[inline(always)]
    #[must_use]
    pub const fn staged(self, stage: u64) -> Self {
        Self(self.0 & !(MARK | STATE) | (stage & 3) << 14 | (stage >> 2 & 1) << 62)
    }

    /// Whether the way may belong to the flow with this hash ([`crate::flow::table_hash`]); a free way belongs to none.
    #[inline(always)]
    #[must_use]
    pub const fn matches(self, hash: u64) -> bool {
        (self.0 ^ hash) & fingerprint(hash) == 0
    }

    /// Whether it has the mark; every UDP way has it.
    #[inline(always)]
    #[must_use]
    pub const fn is_marked(self) -> bool {
        self.0 & MARK != 0
    }

    /// Whether an established connection is TCP and unproven.
    #[inline(always)]
    #[must_use]
    pub const fn is_unproven(self) -> bool {
        self.0 >> 62 == 0b10
    }

    /// State, and the mark as bit 2.
    #[inline(always)]
    #[must_use]
    pub const fn stage(self) -> u64 {
        self.0 >> 14 & 3 | (self.0 >> 62 & 1) << 2
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
        (self.0 & SLOT) as u32
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

/// Buckets (a power of two) of a table for `capacity` connections at the recommended fill.
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
        let touched = way.touched(0x1_2350);
        assert_eq!((touched.age(0x1_2350), touched.touched(0x1_2345)), (0, way));
    }

    #[test]
    fn the_mark_is_no_part_of_a_tcp_fingerprint() {
        let (tcp, udp) = (0xABCD_EF01_2345_6789_u64, 0x4BCD_EF01_2345_6789_u64);
        for hash in [tcp, tcp ^ MARK] {
            let way = Way::new(hash, 7, State::Closing, 9);
            assert!(!way.is_marked() && way.matches(tcp) && way.matches(tcp ^ MARK));
            assert!(way.marked().is_marked() && way.marked().matches(hash));
            assert_eq!((way.stage(), way.marked().stage()), (3, 7));
            assert!(!way.matches(hash ^ 1 << 28) && !way.matches(hash ^ 1 << 63));
        }
        let way = Way::new(udp, 7, State::HalfOpen, 9);
        assert!(way.is_marked() && way.matches(udp) && !way.matches(udp ^ MARK));
        for stage in 0..8 {
            assert_eq!(way.staged(stage).stage(), stage);
            assert_eq!(way.staged(stage).staged(way.stage()), way);
        }
    }

    #[test]
    fn a_table_has_room_at_the_recommended_fill() {
        assert_eq!(buckets(1_000_000), 1 << 18);
        assert_eq!(buckets(1), 2);
        assert!(buckets(10_000_000) * 8 * 60 / 100 >= 10_000_000);
    }
}
