//! The single writes that change what the maps hold.

use dispatcher_common::{
    net::Address,
    rule::{Condition, RuleSet},
    service::{Schedule, ServiceKey},
};

/// A [`ServiceKey`] as the bytes that the map compares.
pub type KeyBytes = [u8; size_of::<ServiceKey>()];

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: &ServiceKey) -> KeyBytes {
    let mut bytes = [0; size_of::<ServiceKey>()];
    bytes[..16].copy_from_slice(&key.vip);
    bytes[16..18].copy_from_slice(&key.port);
    (bytes[18], bytes[19]) = (key.protocol, key.any);
    bytes
}

/// One write to one map: what is not a single store or a single call writes only where nobody reads yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// `SETTINGS`: idle ticks of an expiry class.
    Expiry {
        /// Class.
        class: usize,
        /// Ticks.
        ticks: u64,
    },
    /// `SETTINGS`: half-open connections above which SYNs are placed by hash.
    SynGuard {
        /// Connections.
        connections: u64,
    },
    /// `EXCHANGES`, `RESPONSES`: the memory that measurement takes is made, or given back.
    Measuring {
        /// Whether there shall be any.
        on: bool,
    },
    /// `SETTINGS`: families with services on any address.
    Wildcards {
        /// [`dispatcher_common::settings::Settings::wildcards`].
        families: u64,
    },
    /// `INTERFACES`: the NIC's MAC with its flag; 0: not in use.
    InterfaceMac {
        /// Interface index.
        index: u8,
        /// [`dispatcher_common::backend::InterfaceValue::mac`].
        mac: u64,
    },
    /// `INTERFACES`: the kernel's ifindex and the NIC's MTU, which are one word.
    InterfaceDevice {
        /// Interface index.
        index: u8,
        /// The kernel's index.
        ifindex: u32,
        /// Bytes of L3; 0: not known.
        mtu: u32,
    },
    /// `DEVICES`: where packets are redirected to; none removes it.
    Device {
        /// Interface index.
        index: u8,
        /// The kernel's index.
        ifindex: Option<u32>,
    },
    /// `BACKENDS`: the slot's service and its share, which are one word.
    Owner {
        /// Slot.
        slot: u32,
        /// Service id.
        service: u32,
        /// [`dispatcher_common::backend::BackendValue::share`].
        share: u32,
    },
    /// `BACKEND_COUNTS`, `WINDOWS`, `RESPONSES`: the slot's counters start at 0 again.
    ResetSlot {
        /// Slot.
        slot: u32,
    },
    /// `BACKENDS`: MAC, interface and flags.
    Forward {
        /// Slot.
        slot: u32,
        /// [`dispatcher_common::backend::BackendValue::forward`].
        word: u64,
    },
    /// `SERVICE_STATE`, `SERVICE_COUNTS`: cursor and counters start at 0 again.
    ResetService {
        /// Service id.
        service: u32,
    },
    /// `POLICIES`: the service's choices.
    Choices {
        /// Service id.
        service: u32,
        /// [`dispatcher_common::service::Policy::choices`].
        choices: u64,
    },
    /// `POLICIES`: the service's stale timeout.
    StaleTicks {
        /// Service id.
        service: u32,
        /// [`dispatcher_common::service::Policy::stale_ticks`].
        ticks: u64,
    },
    /// `POLICIES`: how the service's clients stay with their backends.
    Affinity {
        /// Service id.
        service: u32,
        /// [`dispatcher_common::service::Policy::affinity`].
        affinity: u64,
    },
    /// `POLICIES`: the service's local backend.
    Local {
        /// Service id.
        service: u32,
        /// [`dispatcher_common::service::Policy::local`].
        slot: u64,
    },
    /// `PEERS`: where the backend of another service's slot is in a service; none removes it.
    Peer {
        /// Service id.
        service: u32,
        /// Slot of another service.
        slot: u32,
        /// Slot of the same backend in the service.
        peer: Option<u32>,
    },
    /// `SCHEDULES`: a schedule, where no descriptor points.
    Ring {
        /// First slot in the pool.
        offset: u32,
        /// As [`crate::dataplane::tables::ScheduleTable::words`] has it.
        words: Vec<u16>,
    },
    /// `POLICIES`: the service's schedule from now on.
    Schedule {
        /// Service id.
        service: u32,
        /// Descriptor.
        schedule: Schedule,
    },
    /// `RULES`: the rule's service; none: nobody's.
    RuleOwner {
        /// Rule id.
        rule: u32,
        /// Service id.
        service: Option<u32>,
    },
    /// `RULES`: the rule's cursor and count start at 0 again.
    ResetRule {
        /// Rule id.
        rule: u32,
    },
    /// `RULES`: whether the rule holds, as far as a packet does not tell.
    RuleActive {
        /// Rule id.
        rule: u32,
        /// Whether it does.
        active: bool,
    },
    /// `RULES`: the rule's schedule from now on.
    RuleSchedule {
        /// Rule id.
        rule: u32,
        /// Descriptor.
        schedule: Schedule,
    },
    /// `CONDITIONS`: a service's conditions, where no descriptor points.
    Conditions {
        /// First record in the pool.
        offset: u32,
        /// The records.
        records: Vec<Condition>,
    },
    /// `POLICIES`: the service's rules from now on.
    Rules {
        /// Service id.
        service: u32,
        /// Descriptor.
        rules: RuleSet,
    },
    /// `SERVICES`: the service of a key; none removes it.
    Service {
        /// Key.
        key: KeyBytes,
        /// Service id.
        service: Option<u32>,
    },
    /// `VIPS`: how many services the VIP has, or that an address is the host's own; 0 removes it.
    Vip {
        /// VIP, or the host's address.
        vip: Address,
        /// Services, or [`dispatcher_common::service::OWN`].
        services: u32,
    },
    /// `ADDRESS_FILTER`: one word of it.
    Filter {
        /// Index of the word.
        word: usize,
        /// Its bits.
        bits: u64,
    },
}
