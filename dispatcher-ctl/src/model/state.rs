//! What runs, and the record that the controller keeps of it.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BackendConfig, Config, Manager, Rule, RuleConfig, ServiceSettings, Shared, duration};

/// What runs: configuration and what was set at runtime, merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// NICs to be attached to, those attached at runtime included.
    pub interfaces: Vec<String>,
    /// How weights are made.
    #[serde(default)]
    pub manager: Manager,
    /// Services in force.
    pub services: Vec<Shared<Service>>,
}

/// A service in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its number in the datapath.
    pub id: u32,
    /// Its settings in force.
    pub config: ServiceSettings,
    /// Its backends.
    pub backends: Vec<Backend>,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A backend in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its slot in the datapath, 1..[`dispatcher_common::limits::MAX_SLOTS`].
    pub slot: u32,
    /// Its settings in force; `weight` is the one that was configured or set by hand.
    pub config: BackendConfig,
    /// Whether its weight was set by hand: the manager leaves it alone.
    #[serde(default)]
    pub weight_by_hand: bool,
    /// The weight that the manager gave it, if it has.
    #[serde(default)]
    pub managed: Option<u32>,
    /// How far it has come back, while it does.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// No new connections; existing ones go on.
    pub quiesced: bool,
    /// Quiesced, and clients with an affinity record go elsewhere, too.
    #[serde(default)]
    pub quiesced_now: bool,
    /// When it is taken down if it is still quiesced and has connections left: milliseconds since the epoch.
    #[serde(default)]
    pub quiesce_deadline_ms: Option<u64>,
    /// Taken down by hand.
    pub down: bool,
    /// Why its advisor has it down, if it has.
    #[serde(default)]
    pub advised_down: Option<String>,
    /// Milliseconds since the epoch at which `down`, `advised_down` or `quiesced` last changed, or the backend was added.
    pub since_ms: u64,
}

/// How far a backend has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStart {
    /// Milliseconds since the epoch at which it came back.
    pub since_ms: u64,
    /// The most that its weight may be yet.
    pub weight: u32,
}

/// A VIP that the controller itself put on a NIC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnedVip {
    /// NIC.
    pub interface: String,
    /// Address, as /32 or /128.
    pub vip: IpAddr,
}

/// The controller's own record, kept with the pinned maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The file as last applied.
    pub applied: Config,
    /// What runs.
    pub state: State,
    /// VIPs on NICs that are ours to remove.
    pub vips: Vec<OwnedVip>,
    /// Slots of removed backends that ways may still point to.
    pub retired_slots: Vec<RetiredSlot>,
    /// Interface indices by NIC name: position is the index in the datapath, empty where free.
    pub interface_names: Vec<String>,
    /// NICs that the file as last applied calls otherwise than the kernel.
    #[serde(default)]
    pub nic_names: Vec<NicName>,
    /// NICs whose `arp_ignore` is ours to give back.
    #[serde(default)]
    pub arp_ignored: Vec<ArpIgnored>,
}

/// A NIC that the file calls otherwise than the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicName {
    /// What the file calls it: an alternative name, or one that it had.
    pub written: String,
    /// What the kernel calls it, and what it is called in all that runs.
    pub name: String,
}

/// A NIC that is kept from answering ARP requests for addresses of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpIgnored {
    /// The kernel's index of it.
    pub ifindex: u32,
    /// Its `arp_ignore` before.
    pub former: u32,
}

/// The slot of a removed backend. Neither slot nor service id may be given away while a way points to the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RetiredSlot {
    /// The slot.
    pub slot: u32,
    /// Id of the service it belonged to, which counts what becomes of packets that still find their way there.
    pub service: u32,
    /// How long its connections are kept after their last packet, so that their clients can be told by an RST; 0: they go
    /// with the next sweep.
    #[serde(default, with = "duration")]
    pub lingers: Duration,
}

impl RetiredSlot {
    /// A slot whose connections go with the next sweep.
    #[must_use]
    pub const fn new(slot: u32, service: u32) -> Self {
        Self { slot, service, lingers: Duration::ZERO }
    }
}

impl State {
    /// Whether there are services on any address.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.services.iter().any(|service| service.config.vip.is_unspecified())
    }

    /// Changes services of which something is wanted; those of which it is not stay shared with other states.
    pub fn change(
        &mut self,
        is_wanted: impl Fn(&Service) -> bool,
        mut change: impl FnMut(&mut Service),
    ) {
        self.services.iter_mut().filter(|s| is_wanted(s)).for_each(|service| change(service));
    }

    /// The backends of all services.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.services.iter().flat_map(|service| &service.backends)
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.config.name == name).map(|service| &**service)
    }
}

impl Service {
    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.config.name == name)
    }

    /// The backends that a rule chooses from, in the service's order.
    pub fn of_rule<'s>(&'s self, rule: &'s RuleConfig) -> impl Iterator<Item = &'s Backend> {
        let names = rule.names();
        self.backends.iter().filter(move |backend| names.contains(backend.config.name.as_str()))
    }
}

impl Backend {
    /// Whether it is shown as quiesced: by hand, or by weight 0.
    #[must_use]
    pub const fn is_quiesced(&self) -> bool {
        self.quiesced || self.config.weight == 0
    }

    /// Whether the manager leaves its weight alone.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.config.fixed_weight || self.weight_by_hand
    }

    /// Its weight once it is wholly there: the manager's, or as configured or set by hand.
    #[must_use]
    pub fn whole_weight(&self) -> u32 {
        self.managed.unwrap_or(self.config.weight)
    }

    /// Its weight in force.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let whole = self.whole_weight();
        self.slow_start.map_or(whole, |slow| whole.min(slow.weight))
    }
}
