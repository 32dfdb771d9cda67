//! Names of the maps, and the version of everything in them.

/// Version of the layout of all pinned maps. It rises with every change that an older controller or datapath would misread.
pub const LAYOUT_VERSION: u64 = 6;

/// The previous version, whose maps a controller adopts unchanged: every word means the same, except that a TCP connection's mark
/// has no meaning ([`crate::connection`]).
pub const LAYOUT_BEFORE: u64 = 5;

documented! {
    /// Array, mapped: one [`crate::settings::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Section, mapped: `ADDRESS_FILTER_BITS` / 64 words, one bit per [`crate::flow::filter_bit`].
    pub const ADDRESS_FILTER: &str = "ADDRESS_FILTER";
    /// Hash: VIP ([`crate::net::Address`]) → number of its services (u32). A VIP without services is not in it. While there are
    /// services on any address, also the host's own addresses → [`crate::service::OWN`].
    pub const VIPS: &str = "VIPS";
    /// Hash: [`crate::service::ServiceKey`] → [`crate::service::ServiceId`] (u32).
    pub const SERVICES: &str = "SERVICES";
    /// Array, mapped: [`crate::service::Policy`] by service.
    pub const POLICIES: &str = "POLICIES";
    /// Array, mapped: [`crate::service::ServiceState`] by service.
    pub const SERVICE_STATE: &str = "SERVICE_STATE";
    /// Array, mapped: backend slots (u16), the rings of all services; [`crate::service::SCHEDULE_PACK`] slots per element.
    pub const SCHEDULES: &str = "SCHEDULES";
    /// Section, mapped: [`crate::backend::BackendValue`] by slot.
    pub const BACKENDS: &str = "BACKENDS";
    /// Section, mapped: [`crate::backend::InterfaceValue`] by interface index.
    pub const INTERFACES: &str = "INTERFACES";
    /// Device map: interface index → ifindex.
    pub const DEVICES: &str = "DEVICES";
    /// Array, mapped: [`crate::connection::Bucket`]s.
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// Array, mapped: [`crate::connection::FlowBucket`]s.
    pub const FLOWS: &str = "FLOWS";
    /// Hash: [`crate::flow::table_hash`] (u64) → [`crate::connection::Way`] (u64).
    pub const OVERFLOW: &str = "OVERFLOW";
    /// LRU hash: [`crate::fragment::FragmentKey`] → [`crate::fragment::Followed`] (u64).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Per-CPU array: [`crate::counts::PacketCounts`].
    pub const PACKET_COUNTS: &str = "PACKET_COUNTS";
    /// Per-CPU array: [`crate::counts::BackendCounts`].
    pub const BACKEND_COUNTS: &str = "BACKEND_COUNTS";
    /// Per-CPU array: [`crate::counts::ServiceCounts`].
    pub const SERVICE_COUNTS: &str = "SERVICE_COUNTS";

    /// Array, mapped: [`crate::counts::ActiveCount`] (u64) by slot.
    pub const ACTIVE_COUNTS: &str = "ACTIVE_COUNTS";
    /// Array, mapped: one [`crate::counts::TableCounts`].
    pub const TABLE_COUNTS: &str = "TABLE_COUNTS";

    /// Hash: [`crate::service::AffinityKey`] → [`crate::service::AffinityRecord`] (u64).
    pub const AFFINITY: &str = "AFFINITY";
    /// Hash: [`crate::service::PeerKey`] → the slot (u32) of the same backend in that service.
    pub const PEERS: &str = "PEERS";

    /// Array of one map, an array [`EXCHANGES_WAYS`]; empty while nothing is measured.
    pub const EXCHANGES: &str = "EXCHANGES";
    /// Array of one map, an array [`RESPONSES_SLOTS`]; empty while nothing is measured.
    pub const RESPONSES: &str = "RESPONSES";
    /// Array, mapped: [`crate::measure::MeasureWindow`] by slot.
    pub const WINDOWS: &str = "WINDOWS";

    /// Array, mapped: [`crate::measure::Exchange`] by way. Made, and pinned under its name, while something is measured.
    pub const EXCHANGES_WAYS: &str = "EXCHANGES_WAYS";
    /// Per-CPU array: [`crate::measure::ResponseCounts`] by slot. Made and pinned like [`EXCHANGES_WAYS`].
    pub const RESPONSES_SLOTS: &str = "RESPONSES_SLOTS";

    /// Array, mapped: [`crate::rule::Rule`] by rule.
    pub const RULES: &str = "RULES";
    /// Array, mapped: [`crate::rule::Condition`]s, those of all rules of all services.
    pub const CONDITIONS: &str = "CONDITIONS";

    /// Hash, not pinned: the prober's own addresses ([`crate::net::Address`]) → [`crate::probe::ProbeEnd`]. It exists while the
    /// programs do that carry probes of VIPs.
    pub const PROBE_ENDS: &str = "PROBE_ENDS";
    /// Hash, not pinned: [`crate::refused::RefusedKey`] → packets (u64). It belongs to one controller process, and ends with it.
    pub const REFUSED: &str = "REFUSED";
}

/// The maps that the object declares and the datapath keeps: each is pinned under its name.
pub const ALL: [&str; 26] = [
    SETTINGS,
    ADDRESS_FILTER,
    VIPS,
    SERVICES,
    POLICIES,
    SERVICE_STATE,
    SCHEDULES,
    BACKENDS,
    INTERFACES,
    DEVICES,
    CONNECTIONS,
    FLOWS,
    OVERFLOW,
    FRAGMENTS,
    PACKET_COUNTS,
    BACKEND_COUNTS,
    SERVICE_COUNTS,
    ACTIVE_COUNTS,
    TABLE_COUNTS,
    AFFINITY,
    PEERS,
    EXCHANGES,
    RESPONSES,
    WINDOWS,
    RULES,
    CONDITIONS,
];

/// A map that is a section of the object: an array of one value, which holds all elements. The program finds them by address,
/// without a lookup.
///
/// The section is all zeros in the object. A loader writes these zeros into the map whenever it loads a program, even into a map
/// that is in use, unless it gets other contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name of the map, and the symbol.
    pub name: &'static str,
    /// Name of the section.
    pub section: &'static str,
    /// Bytes of the one value.
    pub bytes: u32,
}

/// Those of [`ALL`] that every packet needs and only the controller writes.
pub const SECTIONS: [Section; 3] = [
    Section {
        name: ADDRESS_FILTER,
        section: ".data.filter",
        bytes: crate::limits::ADDRESS_FILTER_BITS / 8,
    },
    Section {
        name: BACKENDS,
        section: ".data.backends",
        bytes: crate::limits::MAX_SLOTS * size_of::<crate::backend::BackendValue>() as u32,
    },
    Section {
        name: INTERFACES,
        section: ".data.interfaces",
        bytes: crate::limits::MAX_INTERFACES * size_of::<crate::backend::InterfaceValue>() as u32,
    },
];

/// Maps that exist, and are pinned under their names, only while they are needed.
pub const ON_DEMAND: [&str; 2] = [EXCHANGES_WAYS, RESPONSES_SLOTS];

#[cfg(test)]
mod tests {
    #[test]
    fn names_fit_the_kernel() {
        for name in super::ALL
            .into_iter()
            .chain(super::ON_DEMAND)
            .chain([super::PROBE_ENDS, super::REFUSED])
        {
            assert!(name.len() <= 15, "{name} is longer than BPF_OBJ_NAME_LEN - 1");
        }
    }
}
