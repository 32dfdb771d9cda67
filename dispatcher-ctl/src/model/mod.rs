//! The controller's words: what a configuration asks for and what is in force. Plain values, no I/O.
//!
//! [`Config`] is a valid configuration; [`State`] is what runs: the same services and backends with everything that
//! was set at runtime. Both are serialised into the controller's own record ([`Record`]), which lives beside the pinned
//! maps and dies with them.

use std::{net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

mod advisor;
mod affinity;
mod choice;
pub mod duration;
mod exchange;
mod exits;
mod mac;
mod manager;
mod passive;
mod rule;
mod shared;

pub use advisor::{AGENT_PORT, Advisor, AdvisorKind, Target, Transport};
pub use affinity::{Affinity, affinity_groups};
pub use choice::Choice;
pub use exchange::{Hex, Method, QueryType, Rcode, Statuses};
pub use exits::Exits;
pub use mac::{Mac, ParseMacError};
pub use manager::{Manager, Proportions, report_timeout};
pub use passive::Passive;
pub use rule::{ClientRange, Day, Evaluate, PortRange, Rule, RuleConfig, Share, TimeRange, Tos};
pub use shared::Shared;

/// A valid configuration: what a file says, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// NICs to attach to.
    pub interfaces: Vec<String>,
    /// Where in the kernel the program runs.
    pub xdp_mode: XdpMode,
    /// Unix socket of the API.
    pub api_socket: PathBuf,
    /// Where metrics are served.
    pub metrics_listen: SocketAddr,
    /// Directory on a bpffs for pinned maps and links.
    pub pin_dir: PathBuf,
    /// Whether VIPs are put on the NICs.
    pub manage_vips: bool,
    /// The connection table.
    pub connections: Connections,
    /// How weights are made.
    #[serde(default)]
    pub manager: Manager,
    /// Commands that are run when something happens.
    #[serde(default)]
    pub exits: Exits,
    /// The services, in the file's order; names and (VIP, port, protocol) are unique.
    pub services: Vec<Shared<ServiceConfig>>,
}

/// Settings of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections the table is made for.
    pub capacity: u64,
    /// What becomes of TCP packets without a connection.
    pub orphan: Orphan,
    /// Half-open connections above which SYNs are placed by hash, without an entry.
    pub syn_guard: u64,
}

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, for drivers without XDP.
    Generic,
}

/// What becomes of a TCP packet that is no SYN and has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orphan {
    /// Dropped and counted by kind.
    Drop,
    /// Treated as new.
    Schedule,
    /// Answered with an RST.
    Reset,
    /// Left to the kernel.
    Pass,
}

/// Protocol of a service.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// How new connections are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Next backend in turn.
    Rr,
    /// Interleaved weighted round robin.
    Wrr,
    /// Fewest active connections.
    Lc,
    /// Fewest active connections for the weight.
    Wlc,
    /// By a hash of the flow, which stays with its backend when others come and go.
    Maglev,
    /// By a hash of the client's address.
    Sh,
    /// Shortest mean response time in the last second.
    Rtt,
    /// Fewest bytes delivered in the last second.
    Xmitbyte,
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ForwardMode {
    /// By rewriting MAC addresses (direct routing).
    Mac,
}

/// What becomes of established TCP connections of a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// Forwarded as long as they live.
    Keep,
    /// Dropped.
    Drop,
    /// Answered with an RST, upon which the client may connect again.
    Reset,
}

/// A service: VIP, port and protocol, with policy and backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Unique name.
    pub name: String,
    /// Address clients use.
    pub vip: IpAddr,
    /// Port; 0: every port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Scheduler for new connections.
    pub scheduler: Scheduler,
    /// Forwarding mode.
    pub forward: ForwardMode,
    /// Idle time after which an established connection (or a UDP flow) is removed.
    #[serde(with = "duration")]
    pub stale_timeout: Duration,
    /// Idle time after which a half-open connection is removed.
    #[serde(with = "duration")]
    pub syn_timeout: Duration,
    /// Idle time after which a closing connection is removed, once there are more than `fin_count`.
    #[serde(with = "duration")]
    pub fin_timeout: Duration,
    /// Closing connections that are kept until `stale_timeout`.
    pub fin_count: u64,
    /// What becomes of established connections of a backend that goes down.
    pub on_down: OnDown,
    /// Whether response times and delivered bytes are measured; some schedulers have it so in any case.
    #[serde(default)]
    pub measure: bool,
    /// Largest weight a backend may have.
    pub weight_bound: u32,
    /// How much each input of the manager counts; none: as for all services.
    #[serde(default)]
    pub proportions: Option<Proportions>,
    /// How long a backend that comes back takes to get its whole weight.
    #[serde(default, with = "duration")]
    pub slow_start: Duration,
    /// How clients stay with their backends.
    #[serde(default)]
    pub affinity: Affinity,
    /// How its backends are probed; none: they are not.
    #[serde(default)]
    pub advisor: Option<Advisor>,
    /// How the metric agents of its backends are asked, beside that; none: they are not.
    #[serde(default)]
    pub agent: Option<Advisor>,
    /// The backends, in the file's order; names and addresses are unique in the service.
    pub backends: Vec<BackendConfig>,
    /// The rules, in the file's order; names and priorities are unique in the service.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendConfig {
    /// Name, unique in its service.
    pub name: String,
    /// Its own address, by which its MAC is found.
    pub address: IpAddr,
    /// Its MAC, if it is not to be looked up.
    pub mac: Option<Mac>,
    /// Share of new connections; 0: none.
    pub weight: u32,
    /// Whether the manager leaves its weight alone.
    #[serde(default)]
    pub fixed_weight: bool,
    /// Whether it takes connections only where no other backend does.
    #[serde(default)]
    pub sorry: bool,
    /// Whether it is on this host.
    pub local: bool,
    /// Active connections it takes at most; 0: any number.
    pub max_connections: u32,
    /// Whether clients stay with it, where the service keeps them.
    #[serde(default = "yes")]
    pub sticky: bool,
}

/// What records of earlier versions had no word for.
const fn yes() -> bool {
    true
}

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
    /// Its settings in force; `config.backends` and `config.rules` are empty, see below.
    pub config: ServiceConfig,
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

impl Protocol {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => dispatcher_common::net::TCP,
            Self::Udp => dispatcher_common::net::UDP,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.word()
    }
}

impl ServiceConfig {
    /// VIP, port and protocol: what no two services may share.
    #[must_use]
    pub const fn key(&self) -> (IpAddr, u16, Protocol) {
        (self.vip, self.port, self.protocol)
    }

    /// The key as people write it: `192.0.2.80:80/tcp`, `[2001:db8::80]:80/tcp`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/{}", SocketAddr::new(self.vip, self.port), self.protocol)
    }
}

impl Config {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceConfig> {
        self.services.iter().find(|service| service.name == name).map(|service| &**service)
    }
}

impl Scheduler {
    /// Whether it goes by what is measured.
    #[must_use]
    pub const fn measures(self) -> bool {
        matches!(self, Self::Rtt | Self::Xmitbyte)
    }

    /// Whether it compares all backends for every new connection.
    #[must_use]
    pub const fn compares(self) -> bool {
        matches!(self, Self::Lc | Self::Wlc | Self::Rtt | Self::Xmitbyte)
    }
}

impl ServiceConfig {
    /// All that its backends are asked, and where the configuration says so.
    pub fn advisors(&self) -> impl Iterator<Item = (&'static str, &Advisor)> {
        let both = [("advisor", &self.advisor), ("agent", &self.agent)];
        both.into_iter().filter_map(|(key, advisor)| Some((key, advisor.as_ref()?)))
    }

    /// Whether its connections are measured.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measure || self.scheduler.measures()
    }

    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&BackendConfig> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}

impl State {
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

    /// Its settings with those of its backends, as a configuration would say them.
    #[must_use]
    pub fn whole(&self) -> ServiceConfig {
        let backends = self.backends.iter().map(|backend| backend.config.clone()).collect();
        let rules = self.rules.iter().map(|rule| rule.config.clone()).collect();
        ServiceConfig { backends, rules, ..self.config.clone() }
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
