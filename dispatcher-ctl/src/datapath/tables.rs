//! What the maps should hold. It is compared with what they hold, and the difference is written.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher_common::{
    backend::{Forward, Share},
    connection::EXPIRY_CLASSES,
    net::{Address, MacBytes},
    rule::Condition,
    service::{Schedule, ServiceKey},
};

/// The contents of all maps that the controller writes. Address filter and VIPs follow from the services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Whether only services are in it that a change makes dirty, each with all its backends and rules. Everything else stays
    /// as it is, their affinity included.
    pub is_partial: bool,
    /// By service id.
    pub services: BTreeMap<u32, ServiceTable>,
    /// By slot.
    pub backends: BTreeMap<u32, BackendTable>,
    /// By interface index.
    pub interfaces: BTreeMap<u8, InterfaceTable>,
    /// Addresses of this host, which services on any address leave alone; empty while there are none of those.
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

/// What the datapath must know of a service.
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
    /// From what it places new connections.
    pub schedule: ScheduleTable,
    /// What leads to its rules, in the order in which they are looked at.
    pub conditions: Vec<Condition>,
}

/// What the datapath must know of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTable {
    /// Id of its service.
    pub service: u32,
    /// Whether it holds, as far as a packet does not tell.
    pub active: bool,
    /// From what it places new connections.
    pub schedule: ScheduleTable,
}

/// A service's schedule: slots of backends that take its new connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleTable {
    /// The ring: slots, as often as the scheduler has them.
    pub ring: Vec<u16>,
    /// Each of them once, in the service's order.
    pub members: Vec<u16>,
}

impl ScheduleTable {
    /// Ring slots it takes in the pool.
    #[must_use]
    pub fn space(&self) -> usize {
        Schedule::space(self.ring.len(), self.members.len())
    }

    /// Its layout in the pool: the ring, the number of members, the members.
    #[must_use]
    pub fn words(&self) -> Vec<u16> {
        if self.ring.is_empty() {
            return Vec::new();
        }
        [&self.ring[..], &[self.members.len() as u16], &self.members].concat()
    }

    /// What is left of it without these slots.
    #[must_use]
    pub fn without(&self, slots: &BTreeSet<u16>) -> Self {
        let rest = |of: &[u16]| of.iter().copied().filter(|slot| !slots.contains(slot)).collect();
        Self { ring: rest(&self.ring), members: rest(&self.members) }
    }
}

/// What the datapath must know of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendTable {
    /// Its service.
    pub service: u32,
    /// MAC, interface and flags.
    pub forward: Forward,
    /// Weight and bound on connections.
    pub share: Share,
}

/// What the datapath must know of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceTable {
    /// The NIC's own MAC.
    pub mac: MacBytes,
    /// The kernel's ifindex.
    pub ifindex: u32,
    /// Its MTU in bytes of L3; 0: not known.
    pub mtu: u32,
}
