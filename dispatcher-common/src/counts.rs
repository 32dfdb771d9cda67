//! Counters: per CPU, summed by the reader, never reset while in use.

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
        /// SYNs of a half-open connection seen again.
        pub retransmissions: u64,
    }
}

shared! {
    /// `SERVICE_COUNTS`, by service: packets that left the path early, by reason.
    pub struct ServiceCounts [256] {
        /// Packets, at [`crate::reason::Reason`]'s number.
        pub packets: [u64; REASONS],
    }
}
