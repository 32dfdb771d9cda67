//! The controller's words: what a configuration asks for and what is in force. Plain values, no I/O.
//!
//! [`Config`] is a valid configuration; [`State`] is what runs: the same services and backends with everything that
//! was set at runtime. Both are serialised into the controller's own record ([`Record`]), which lives beside the pinned
//! maps and dies with them.

use std::{net::SocketAddr, path::PathBuf};

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
mod service;
mod shared;
mod state;
pub mod text;

pub use advisor::{AGENT_PORT, Advisor, AdvisorKind, Target, Transport};
pub use affinity::{Affinity, affinity_groups};
pub use choice::Choice;
pub use exchange::{Hex, Method, QueryType, Rcode, Statuses};
pub use exits::Exits;
pub use mac::{Mac, ParseMacError};
pub use manager::{Manager, Proportions, report_timeout};
pub use passive::Passive;
pub use rule::{ClientRange, Day, Evaluate, PortRange, Rule, RuleConfig, Share, TimeRange, Tos};
pub use service::{
    BackendConfig, ForwardMode, OnDown, Outline, Protocol, Scheduler, ServiceConfig,
    ServiceSettings,
};
pub use shared::Shared;
pub use state::{
    ArpIgnored, Backend, NicName, OwnedVip, Record, RetiredSlot, Service, SlowStart, State,
};

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
    /// Whether other NICs are kept from answering ARP requests for VIPs.
    #[serde(default)]
    pub manage_arp: bool,
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

impl Config {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceConfig> {
        self.services.iter().find(|service| service.name == name).map(|service| &**service)
    }
}
