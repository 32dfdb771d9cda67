//! Capacities, and their origins.

documented! {
    /// Backend slots, slot 0 (never used) included: 14 bits of a connection-table word.
    pub const MAX_SLOTS: u32 = 1 << 14;
    /// Services. The per-service reason counters take `MAX_SERVICES` × 256 bytes per CPU.
    pub const MAX_SERVICES: u32 = 4096;
    /// VIPs and, while there are services on any address, addresses of the host itself.
    pub const MAX_ADDRESSES: u32 = 1 << 14;
    /// Backends of one service.
    pub const MAX_BACKENDS_PER_SERVICE: usize = 1024;
    /// Backends of a service whose scheduler compares all of them for every new connection (`lc`, `wlc`, `rtt`,
    /// `xmitbyte`).
    pub const MAX_COUNTED_BACKENDS: usize = 256;
    /// NICs of one datapath. Index 0 is a NIC like any other.
    pub const MAX_INTERFACES: u32 = 64;
    /// Slots of all schedules together: 4 MiB. Two schedules of every service must fit while one replaces the other, and a lookup
    /// table of `maglev` has about 100 slots per backend: 1,000 services with 10 backends take half of it at rest.
    pub const SCHEDULE_POOL: u32 = 1 << 21;
    /// Largest weight that a configuration may allow.
    pub const MAX_WEIGHT_BOUND: u32 = 100;
    /// Bits of the destination-address filter: 8 KiB, so that the words of live VIPs stay in the first-level cache.
    pub const ADDRESS_FILTER_BITS: u32 = 1 << 16;
    /// Connections in the overflow map, which takes those whose buckets are both full.
    pub const OVERFLOW_CAPACITY: u32 = 1 << 14;
    /// Fragmented datagrams whose slots are stored; the least recently used are replaced first.
    pub const FRAGMENT_CAPACITY: u32 = 1 << 14;
    /// Fill of the connection table at `capacity` connections, in percent (0.0037 % of flows then find both their buckets full).
    pub const RECOMMENDED_FILL_PERCENT: u64 = 60;
    /// VLAN tags that are parsed; a packet with more is passed to the kernel.
    pub const MAX_VLAN_TAGS: u32 = 2;
    /// IPv6 extension headers that are walked (RFC 8200 §4.1 recommends at most seven, one of them twice).
    pub const MAX_IPV6_EXT_HEADERS: u32 = 8;
    /// Affinity records; memory is allocated per record.
    pub const AFFINITY_RECORDS: u32 = 1 << 20;
    /// Backends that services of an affinity group have in common: one entry for each ordered pair of services.
    pub const PEERS: u32 = 1 << 16;
    /// Rules of all services.
    pub const MAX_RULES: u32 = 4096;
    /// Conditions of one service: the datapath may look at all of them for a new connection.
    pub const MAX_CONDITIONS: u32 = 64;
    /// Conditions of all services: 1 MiB. As with schedules, two sets of every service must fit.
    pub const CONDITION_POOL: u32 = 1 << 14;
    /// Addresses of this host from which VIPs are probed.
    pub const PROBE_ADDRESSES: u32 = 64;
    /// Kinds of refused redirects that are counted separately, by both NICs and the error.
    pub const REFUSED_KEYS: u32 = 512;
}
