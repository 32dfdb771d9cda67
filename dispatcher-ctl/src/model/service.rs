//! A service as a configuration describes it, and the choices that its settings offer.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::{BackendConfig, Choice as _, RuleConfig, Service, ServiceSettings, choice::choice};

choice! {
    /// Protocol of a service.
    pub enum Protocol {
        /// RFC 9293.
        Tcp = "tcp",
        /// RFC 768.
        Udp = "udp",
    }
}

choice! {
    /// How new connections are placed.
    pub enum Scheduler {
        /// Next backend in turn.
        Rr = "rr",
        /// Interleaved weighted round robin.
        Wrr = "wrr",
        /// Fewest active connections.
        Lc = "lc",
        /// Fewest active connections for the weight.
        Wlc = "wlc",
        /// Shortest mean response time in the last second.
        Rtt = "rtt",
        /// Fewest bytes delivered in the last second.
        Xmitbyte = "xmitbyte",
        /// By a hash of the flow, which stays with its backend when others come and go.
        Maglev = "maglev",
        /// By a hash of the client's address.
        Sh = "sh",
    }
}

choice! {
    /// How packets reach a backend.
    pub enum ForwardMode {
        /// By rewriting MAC addresses (direct routing).
        Mac = "mac",
    }
}

choice! {
    /// What happens to established TCP connections of a backend that goes down.
    pub enum OnDown {
        /// Forwarded as long as they live.
        Keep = "keep",
        /// Dropped.
        Drop = "drop",
        /// Answered with an RST, upon which the client may connect again.
        Reset = "reset",
    }
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
    /// Whether it uses measurements.
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
