//! The controller's words: what a configuration asks for and what is in force. Plain values, no I/O.
//!
//! [`Config`] is a valid configuration; [`State`] is what runs: the same services and backends with everything that
//! was set at runtime. Both are serialised into the controller's own record ([`Record`]), which lives beside the pinned
//! maps and dies with them.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

pub use crate::settings::{
    AGENT_PORT, Advisor, Affinity, BackendConfig, Connections, Exits, GlobalSettings, Manager,
    Passive, Proportions, ServiceSettings,
};

mod advisor;
mod affinity;
pub(crate) mod choice;
pub mod duration;
mod mac;
pub mod report_timeout;
mod request;
mod rule;
mod service;
mod shared;
mod state;
pub mod text;

pub use advisor::{AdvisorKind, Target, Transport};
pub use affinity::affinity_groups;
pub use choice::Choice;
use choice::choice;
pub use mac::{Mac, ParseMacError};
pub use request::{Hex, Method, QueryType, Rcode, Statuses};
pub use rule::{ClientRange, Day, Evaluate, PortRange, Rule, RuleConfig, Share, TimeRange, Tos};
pub use service::{ForwardMode, OnDown, Outline, Protocol, Scheduler, ServiceConfig};
pub use shared::Shared;
pub use state::{
    ArpIgnored, Backend, NicName, OwnedVip, Record, RetiredSlot, Service, SlowStart, State,
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

choice! {
    /// Where in the kernel the program runs.
    pub enum XdpMode {
        /// In the driver.
        Native = "native",
        /// In the network stack, for drivers without XDP.
        Generic = "generic",
    }
}

choice! {
    /// What becomes of a TCP packet that is no SYN and has no connection.
    pub enum Orphan {
        /// Dropped and counted by kind.
        Drop = "drop",
        /// Treated as new.
        Schedule = "schedule",
        /// Answered with an RST.
        Reset = "reset",
        /// Left to the kernel.
        Pass = "pass",
    }
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
