//! Rules: when are new connections of a service placed on some of its backends only?

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

mod range;

pub use range::{ClientRange, Day, PortRange, TimeRange, Tos};

/// A rule of a service, by the keys of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuleConfig {
    /// Name, unique in its service.
    pub name: String,
    /// Its place: lower ones are looked at first; unique in its service.
    pub priority: u32,
    /// Names of the service's backends that it chooses from.
    pub backends: Vec<String>,
    /// Clients it is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientRange>,
    /// Client ports it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ports: Option<PortRange>,
    /// Time of day, on the clock of the dispatcher's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeRange>,
    /// Days of the week on which `time` begins; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// TOS or traffic class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos: Option<Tos>,
    /// New connections per second, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_new_connections: Option<u64>,
    /// New connections per second, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_connections: Option<u64>,
    /// Active connections, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_active_connections: Option<u64>,
    /// Active connections, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_connections: Option<u64>,
    /// Delivered bytes per second, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bandwidth: Option<u64>,
    /// Delivered bytes per second, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bandwidth: Option<u64>,
    /// Bytes per second that the services which share them deliver, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_bandwidth: Option<u64>,
    /// Which services share `shared_bandwidth`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub share: Share,
    /// Whether it holds without a condition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub always: bool,
    /// Over whose backends rates and counts are taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub evaluate: Evaluate,
}

/// Over whose backends a rule's rates and counts are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evaluate {
    /// All of the service.
    #[default]
    Service,
    /// Those of the rule.
    Rule,
}

/// Which services share a bandwidth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// All that are measured.
    #[default]
    All,
    /// Those of the same VIP.
    Vip,
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number in the datapath.
    pub id: u32,
    /// Its settings.
    pub config: RuleConfig,
}

impl RuleConfig {
    /// Its settings by key, as a configuration writes them; those that say nothing are left out.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(settings)) => settings,
            // A struct of texts and numbers is an object.
            Ok(_) | Err(_) => serde_json::Map::new(),
        }
    }

    /// The names of its backends: there may be a thousand, and as many to be looked for among them.
    #[must_use]
    pub fn names(&self) -> HashSet<&str> {
        self.backends.iter().map(String::as_str).collect()
    }

    /// Whether it goes by rates that are measured from one second to the next.
    #[must_use]
    pub const fn has_rates(&self) -> bool {
        self.min_new_connections.is_some()
            || self.max_new_connections.is_some()
            || self.has_bandwidth()
    }

    /// Whether it goes by delivered bytes.
    #[must_use]
    pub const fn has_bandwidth(&self) -> bool {
        self.min_bandwidth.is_some()
            || self.max_bandwidth.is_some()
            || self.shared_bandwidth.is_some()
    }

    /// Whether `evaluate` makes a difference.
    #[must_use]
    pub const fn is_evaluated(&self) -> bool {
        self.min_new_connections.is_some()
            || self.max_new_connections.is_some()
            || self.min_active_connections.is_some()
            || self.max_active_connections.is_some()
            || self.min_bandwidth.is_some()
            || self.max_bandwidth.is_some()
    }

    /// Whether it goes by rates or counts.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.is_evaluated() || self.shared_bandwidth.is_some()
    }

    /// Whether something must hold that a packet does not tell.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        self.time.is_some() || !self.days.is_empty() || self.is_measured()
    }

    /// Whether any condition is named, `always` not among them.
    #[must_use]
    pub const fn has_condition(&self) -> bool {
        self.is_switched()
            || !self.clients.is_empty()
            || self.client_ports.is_some()
            || self.tos.is_some()
    }

    /// Records that its conditions take in the datapath.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.clients.len().max(1)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
