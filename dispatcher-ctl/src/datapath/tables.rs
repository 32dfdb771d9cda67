//! The wanted contents of the maps. The publisher compares them with the actual contents and writes the difference.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher_common::{
    backend::{Forward, Share},
    connection::EXPIRY_CLASSES,
    net::{Address, MacBytes},
    rule::Condition,
    service::ServiceKey,
};

use crate::schedule::ScheduleTable;

/// The contents of all maps that the controller writes. Address filter and VIPs follow from the services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Whether it holds only the dirty services, each with all its backends and rules. Everything else stays as it is,
    /// including the affinity of these services.
    pub is_partial: bool,
    /// By service id.
    pub services: BTreeMap<u32, ServiceTable>,
    /// By slot.
    pub backends: BTreeMap<u32, BackendTable>,
    /// By interface index.
    pub interfaces: BTreeMap<u8, InterfaceTable>,
    /// Addresses of this host, which services on any address do not serve; empty while there are no such services.
    pub own_addresses: BTreeSet<Address>,
    /// Backends that services of an affinity group have in common: the slot in a service, by that service and the slot in
    /// another one.
    pub peers: BTreeMap<(u32, u32), u32>,
    /// By rule id.
    pub rules: BTreeMap<u32, RuleTable>,
    /// [`dispatcher_common::settings::Settings::expiry_ticks`].
    pub expiry_ticks: [u64; EXPIRY_CLASSES],
    /// [`dispatcher_common::settings::Settings::syn_guard`].
    pub syn_guard: u64,
}

/// A service in the datapath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTable {
    /// Its key.
    pub key: ServiceKey,
    /// [`dispatcher_common::service::Policy::choices`].
    pub choices: u64,
    /// [`dispatcher_common::service::Policy::stale_ticks`].
    pub stale_ticks: u64,
    /// [`dispatcher_common::service::Policy::affinity`].
    pub affinity: u64,
    /// [`dispatcher_common::service::Policy::local`].
    pub local: u64,
    /// From which it places new connections.
    pub schedule: ScheduleTable,
    /// The conditions of its rules, in the order in which the datapath checks them.
    pub conditions: Vec<Condition>,
}

/// A rule in the datapath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTable {
    /// Id of its service.
    pub service: u32,
    /// Whether it is on, apart from its conditions on packets.
    pub active: bool,
    /// From which it places new connections.
    pub schedule: ScheduleTable,
}

/// A backend in the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendTable {
    /// Its service.
    pub service: u32,
    /// MAC, interface and flags.
    pub forward: Forward,
    /// Weight and bound on connections.
    pub share: Share,
}

/// A NIC in the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceTable {
    /// The NIC's own MAC.
    pub mac: MacBytes,
    /// The kernel's ifindex.
    pub ifindex: u32,
    /// Its MTU in bytes of L3; 0 if unknown.
    pub mtu: u32,
}
