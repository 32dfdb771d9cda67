//! What the maps should hold: a value that is compared with what they do hold, and whose difference is written.

use std::collections::BTreeMap;

use dispatcher_common::{
    backend::Forward, connection::EXPIRY_CLASSES, net::MacBytes, service::ServiceKey,
};

/// The contents of all maps that the controller writes. Address filter and VIPs follow from the services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// By service id.
    pub services: BTreeMap<u32, ServiceTable>,
    /// By slot.
    pub backends: BTreeMap<u32, BackendTable>,
    /// By interface index.
    pub interfaces: BTreeMap<u8, InterfaceTable>,
    /// [`dispatcher_common::settings::Settings::expiry_ticks`].
    pub expiry_ticks: [u64; EXPIRY_CLASSES],
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
    /// Its ring: slots of backends.
    pub ring: Vec<u16>,
}

/// What the datapath must know of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendTable {
    /// Its service.
    pub service: u32,
    /// MAC, interface and flags.
    pub forward: Forward,
}

/// What the datapath must know of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceTable {
    /// The NIC's own MAC.
    pub mac: MacBytes,
    /// The kernel's ifindex.
    pub ifindex: u32,
}
