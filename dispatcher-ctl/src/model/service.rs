//! A service as a configuration asks for it: VIP, port and protocol, with policy and backends.

use std::{
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Advisor, Affinity, Choice as _, Mac, Proportions, RuleConfig, Service, duration};

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

/// The settings of a service: VIP, port, protocol and policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSettings {
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
}

/// A service as a configuration describes it. Its settings can be read as its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Its settings.
    #[serde(flatten)]
    pub settings: ServiceSettings,
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

impl ServiceSettings {
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
}

impl ServiceConfig {
    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&BackendConfig> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}

impl Deref for ServiceConfig {
    type Target = ServiceSettings;

    fn deref(&self) -> &ServiceSettings {
        &self.settings
    }
}

impl DerefMut for ServiceConfig {
    fn deref_mut(&mut self) -> &mut ServiceSettings {
        &mut self.settings
    }
}

/// A service as a configuration describes it, borrowed from a configuration or from what runs.
#[derive(Clone, Debug)]
pub struct Outline<'s> {
    /// Its settings.
    pub settings: &'s ServiceSettings,
    /// The settings of its backends.
    pub backends: Vec<&'s BackendConfig>,
    /// Its rules.
    pub rules: Vec<&'s RuleConfig>,
}

impl<'s> From<&'s ServiceConfig> for Outline<'s> {
    fn from(service: &'s ServiceConfig) -> Self {
        let (backends, rules) = (service.backends.iter(), service.rules.iter());
        Self { settings: &service.settings, backends: backends.collect(), rules: rules.collect() }
    }
}

impl<'s> From<&'s Service> for Outline<'s> {
    fn from(service: &'s Service) -> Self {
        Self {
            settings: &service.config,
            backends: service.backends.iter().map(|backend| &backend.config).collect(),
            rules: service.rules.iter().map(|rule| &rule.config).collect(),
        }
    }
}

impl From<ServiceSettings> for ServiceConfig {
    /// A service without backends and rules.
    fn from(settings: ServiceSettings) -> Self {
        Self { settings, backends: Vec::new(), rules: Vec::new() }
    }
}

impl From<Outline<'_>> for ServiceConfig {
    fn from(service: Outline<'_>) -> Self {
        Self {
            settings: service.settings.clone(),
            backends: service.backends.into_iter().cloned().collect(),
            rules: service.rules.into_iter().cloned().collect(),
        }
    }
}
