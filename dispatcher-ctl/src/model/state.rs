//! The running state, and the saved state that the controller keeps of it.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BackendConfig, Config, Manager, RuleConfig, ServiceSettings, Shared, duration};

/// The running state: the configuration merged with what was set at runtime.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// NICs to attach to, including those attached at runtime.
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

/// A rule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number in the datapath.
    pub id: u32,
    /// Its settings.
    pub config: RuleConfig,
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
    /// Its ramp-up, while it recovers.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// No new connections; existing ones continue.
    pub quiesced: bool,
    /// Quiesced, and clients with an affinity record use other backends, too.
    #[serde(default)]
    pub quiesced_now: bool,
    /// When to take it down if it is still quiesced and has connections left: milliseconds since the epoch.
    #[serde(default)]
    pub quiesce_deadline_ms: Option<u64>,
    /// Taken down by hand.
    pub down: bool,
    /// Why its advisor took it down; none: it did not.
    #[serde(default)]
    pub advised_down: Option<String>,
    /// Milliseconds since the epoch at which `down`, `advised_down` or `quiesced` last changed, or the backend was added.
    pub since_ms: u64,
}

/// The ramp-up of a recovered backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStart {
    /// Milliseconds since the epoch at which it recovered.
    pub since_ms: u64,
    /// Upper limit of its weight for now.
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

/// The saved state, kept with the pinned maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// The file as last applied.
    pub applied: Config,
    /// What runs.
    pub state: State,
    /// VIPs on NICs that the controller added and must remove.
    pub vips: Vec<OwnedVip>,
    /// Slots of removed backends that ways may still point to.
    pub retired_slots: Vec<RetiredSlot>,
    /// Interface indices by NIC name: position is the index in the datapath, empty where free.
    pub interface_names: Vec<String>,
    /// NICs that have another name in the file as last applied than in the kernel.
    #[serde(default)]
    pub nic_names: Vec<NicName>,
    /// NICs whose `arp_ignore` the controller changed and must restore.
    #[serde(default)]
    pub arp_ignored: Vec<ArpIgnored>,
}

/// A NIC that has another name in the file than in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicName {
    /// Its name in the file: an alternative name, or a former name.
    pub written: String,
    /// Its name in the kernel, which the running state uses everywhere.
    pub name: String,
}

/// A NIC that must not answer ARP requests for addresses of other NICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpIgnored {
    /// Its index in the kernel.
    pub ifindex: u32,
    /// Its former `arp_ignore`.
    pub former: u32,
}

/// The slot of a removed backend. Neither slot nor service id may be reused while a way points to the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RetiredSlot {
    /// The slot.
    pub slot: u32,
    /// Id of the service it belonged to. Packets that still find the slot are counted for that service.
    pub service: u32,
    /// How long its connections are kept after their last packet, so that their clients can get an RST; 0: the next sweep
    /// removes them.
    #[serde(default, with = "duration")]
    pub lingers: Duration,
}

impl RetiredSlot {
    /// A slot whose connections the next sweep removes.
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

    /// Changes the services that match; the others stay shared with other states.
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

    /// Its weight after the ramp-up: the manager's, or as configured or set by hand.
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
