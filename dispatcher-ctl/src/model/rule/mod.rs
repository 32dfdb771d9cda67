//! Rules: conditions under which new connections use only some of a service's backends.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::model::choice::choice;

mod range;

pub use range::{ClientRange, Day, PortRange, TimeRange, Tos};

pub use crate::settings::RuleConfig;

choice! {
    /// Over whose backends a rule's rates and counts are taken.
    #[derive(Default)]
    pub enum Evaluate {
        /// All of the service.
        #[default]
        Service = "service",
        /// Those of the rule.
        Rule = "rule",
    }
}

choice! {
    /// Which services share a bandwidth.
    #[derive(Default)]
    pub enum Share {
        /// All that are measured.
        #[default]
        All = "all",
        /// Those of the same VIP.
        Vip = "vip",
    }
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
    /// Its settings by key, as a configuration writes them, without empty ones.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(settings)) => settings,
            // A struct of texts and numbers is an object.
            Ok(_) | Err(_) => serde_json::Map::new(),
        }
    }

    /// The names of its backends, as a set: there may be a thousand, and a thousand lookups.
    #[must_use]
    pub fn names(&self) -> HashSet<&str> {
        self.backends.iter().map(String::as_str).collect()
    }

    /// Whether it depends on rates, which are measured every second.
    #[must_use]
    pub const fn has_rates(&self) -> bool {
        self.min_new_connections.is_some()
            || self.max_new_connections.is_some()
            || self.has_bandwidth()
    }

    /// Whether it depends on delivered bytes.
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

    /// Whether it depends on rates or counts.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.is_evaluated() || self.shared_bandwidth.is_some()
    }

    /// Whether it has conditions that cannot be read from a packet.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        self.time.is_some() || !self.days.is_empty() || self.is_measured()
    }

    /// Whether it has any condition other than `always`.
    #[must_use]
    pub const fn has_condition(&self) -> bool {
        self.is_switched()
            || !self.clients.is_empty()
            || self.client_ports.is_some()
            || self.tos.is_some()
    }

    /// Number of records that its conditions take in the datapath.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.clients.len().max(1)
    }
}
