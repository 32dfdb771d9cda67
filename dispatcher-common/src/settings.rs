//! Settings of a datapath: those fixed when it was made, and those that the controller changes at runtime.

use crate::{connection::EXPIRY_CLASSES, flow::HASH_KEYS};

/// [`Settings::reset_interval`] as the controller sets it: a thousand RSTs per second.
pub const RESET_INTERVAL_NS: u64 = 1_000_000;

shared! {
    /// The one record of `SETTINGS`, pinned with the maps. A new controller reads from it how the table was made.
    pub struct Settings [256] {
        /// Keys of the table's hash: random, made once.
        pub hash_keys: [u64; HASH_KEYS],
        /// Keys of the hash that places flows on a schedule: random, but two dispatchers may share them.
        pub schedule_keys: [u64; 2],
        /// Buckets of the connection table: a power of two.
        pub buckets: u64,
        /// `connections.capacity` as it was when the table was made.
        pub capacity: u64,
        /// Idle ticks after which the datapath may reuse a way, by [`crate::connection::Way::expiry_class`]: the longest
        /// timeout of any service. Written by the controller at runtime.
        pub expiry_ticks: [u64; EXPIRY_CLASSES],
        /// Entries in `OVERFLOW`: an insertion raises it, a removal lowers it. The map is searched only if this is not 0.
        pub overflow_entries: u64,
        /// Half-open connections above which SYNs are placed by hash, without an entry. Written by the controller at
        /// runtime.
        pub syn_guard: u64,
        /// Nanoseconds between two RSTs that a CPU sends ([`RESET_INTERVAL_NS`]), bursts excepted; 0: none are sent.
        pub reset_interval: u64,
        /// Families with services on any address: bit 0 IPv4, bit 1 IPv6. Written by the controller at runtime.
        pub wildcards: u64,
        /// Zero.
        pub _reserved: [u64; 3],
        /// [`crate::maps::LAYOUT_VERSION`], written last: 0 means that the set-up was interrupted.
        pub layout_version: u64,
    }
}

shared! {
    /// The program's constants (`.rodata`, symbol `CONFIG`), one set per NIC for which it is loaded. The fields that every packet
    /// needs come first, in one cache line for IPv4.
    pub struct Config [136] {
        /// Buckets − 1.
        pub bucket_mask: u32,
        /// Index of the NIC to which this program is attached, into `INTERFACES`, `DEVICES` and `PACKET_COUNTS`.
        pub interface: u32,
        /// Nanoseconds of a jiffy, the kernel's timer tick.
        pub jiffy_ns: u64,
        /// Nanoseconds of the monotonic clock when the kernel's count of jiffies was 0, modulo 2⁶⁴: it begins above 0.
        pub jiffies_epoch: u64,
        /// As [`Settings::hash_keys`].
        pub hash_keys: [u64; HASH_KEYS],
        /// As [`Settings::schedule_keys`].
        pub schedule_keys: [u64; 2],
    }
}
