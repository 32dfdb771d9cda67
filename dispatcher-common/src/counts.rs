//! Counters: per CPU, summed by the reader, never reset while in use; and the counts of connections, shared by all CPUs.

use crate::reason::REASONS;

shared! {
    /// `PACKET_COUNTS`, at interface index × [`REASONS`] + reason.
    pub struct PacketCounts [16] {
        /// Packets.
        pub packets: u64,
        /// L3 bytes.
        pub bytes: u64,
    }
}

shared! {
    /// `BACKEND_COUNTS`, by slot.
    pub struct BackendCounts [32] {
        /// Packets forwarded.
        pub packets: u64,
        /// L3 bytes forwarded.
        pub bytes: u64,
        /// Connections placed.
        pub connections: u64,
        /// SYNs of half-open connections, seen again.
        pub retransmissions: u64,
    }
}

shared! {
    /// `SERVICE_COUNTS`, by service: packets that left the path early, by reason, and those that were placed by hash.
    pub struct ServiceCounts [264] {
        /// Packets, at [`crate::reason::Reason`]'s number.
        pub packets: [u64; REASONS],
        /// Packets placed by hash, without an entry.
        pub hashed: u64,
    }
}

/// `ACTIVE_COUNTS`, by slot: how many connections a backend has, in one word that all CPUs change by atomic adds.
///
/// Bits 0–31: half-open connections; 32–63: active ones, including half-open ones. The CPU that wins the compare-and-swap on a
/// way changes the counts: it raises counts before the swap (and takes that back if the swap fails), and lowers counts after it.
/// So a count may be too high for a moment. It is never too low, and never below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ActiveCount(pub u64);

impl ActiveCount {
    /// One active connection that is not half-open.
    pub const ACTIVE: u64 = 1 << 32;
    /// One half-open connection.
    pub const HALF_OPEN: u64 = 1 << 32 | 1;

    /// The count of a way: UDP flows are never half-open, closing and aborted connections are not active.
    #[inline(always)]
    #[must_use]
    pub const fn of(way: crate::connection::Way) -> u64 {
        // By class: free or aborted, half-open, established, closing; UDP, then TCP. Two bits each: active, half-open.
        const UNITS: u64 = 0b01_01_01_00 | 0b00_01_11_00 << 8;
        let bits = UNITS >> (way.expiry_class() * 2);
        (bits & 1) << 32 | (bits >> 1 & 1)
    }

    /// Active connections.
    #[inline(always)]
    #[must_use]
    pub const fn active(self) -> u64 {
        self.0 >> 32
    }

    /// Half-open connections.
    #[inline(always)]
    #[must_use]
    pub const fn half_open(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

shared! {
    /// The one record of `TABLE_COUNTS`, shared by all CPUs: a cache line of its own.
    pub struct TableCounts [64] {
        /// Half-open connections of all backends, changed as [`ActiveCount`] is.
        pub half_open: u64,
        /// Zero.
        pub _reserved: [u64; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{State, Way};

    #[test]
    fn a_way_counts_for_what_it_is() {
        let (tcp, udp) = (1 << 63, 1 << 62);
        for (hash, state, want) in [
            (tcp, State::Aborted, 0),
            (tcp, State::HalfOpen, ActiveCount::HALF_OPEN),
            (tcp, State::Established, ActiveCount::ACTIVE),
            (tcp, State::Closing, 0),
            (udp, State::HalfOpen, ActiveCount::ACTIVE),
            (udp, State::Established, ActiveCount::ACTIVE),
            (udp, State::Closing, ActiveCount::ACTIVE),
        ] {
            let way = Way::new(hash, 5, state, 3);
            assert_eq!(ActiveCount::of(way), want, "{hash:x} {state:?}");
            assert_eq!(ActiveCount::of(way.marked()), want, "{hash:x} {state:?}, marked");
        }
    }
}
