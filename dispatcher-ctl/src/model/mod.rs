//! What a configuration asks for and what runs: plain data made of [settings](crate::settings), without I/O.
//!
//! [`Config`] is a valid configuration. [`State`] is what runs: the same services and backends with everything that was set
//! at runtime. Both are part of the saved state ([`SavedState`]), which is kept with the pinned maps.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

pub use crate::{
    settings::{
        AGENT_PORT, Advisor, Affinity, BackendConfig, Connections, Exits, GlobalSettings, Manager,
        Passive, Proportions, RuleConfig, ServiceSettings,
    },
    values::{
        AdvisorKind, Choice, ClientRange, Day, Evaluate, ForwardMode, Hex, Mac, Method, OnDown,
        Orphan, ParseMacError, PortRange, Protocol, QueryType, Rcode, Scheduler, Share, Statuses,
        Target, TimeRange, Tos, Transport, XdpMode, duration, report_timeout,
    },
};

mod affinity;
mod service;
mod shared;
mod state;
pub mod text;

pub use affinity::affinity_groups;
pub use service::{Outline, ServiceConfig};
pub use shared::Shared;
pub use state::{
    ArpIgnored, Backend, NicName, OwnedVip, RetiredSlot, Rule, SavedState, Service, SlowStart,
    State,
};

/// A valid configuration: what a file says, defaults filled in. Its settings can be read as its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The settings besides services.
    #[serde(flatten)]
    pub settings: GlobalSettings,
    /// The services, in the file's order; names and (VIP, port, protocol) are unique.
    pub services: Vec<Shared<ServiceConfig>>,
}

impl Config {
    /// A configuration without services, and every other setting at its default.
    #[must_use]
    pub fn new(interfaces: Vec<String>) -> Self {
        Self { settings: GlobalSettings::new(interfaces), services: Vec::new() }
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceConfig> {
        self.services.iter().find(|service| service.name == name).map(|service| &**service)
    }
}

impl Deref for Config {
    type Target = GlobalSettings;

    fn deref(&self) -> &GlobalSettings {
        &self.settings
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut GlobalSettings {
        &mut self.settings
    }
}
