//! What holds where nothing is said.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::model::{
    Affinity, BackendConfig, Config, Connections, Exits, ForwardMode, Manager, OnDown, Orphan,
    Protocol, Scheduler, ServiceSettings, XdpMode,
};

/// `pin_dir`.
pub const PIN_DIR: &str = "/sys/fs/bpf/dispatcher";
/// `weight_bound`.
pub const WEIGHT_BOUND: u32 = 20;
/// Port of FTP's control connection (RFC 959), which idles while data flows on another.
const FTP_CONTROL: u16 = 21;

/// A configuration without services.
#[must_use]
pub fn config(interfaces: Vec<String>) -> Config {
    Config {
        interfaces,
        xdp_mode: XdpMode::Native,
        api_socket: PathBuf::from("/run/dispatcher/api.sock"),
        metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
        pin_dir: PathBuf::from(PIN_DIR),
        manage_vips: true,
        manage_arp: false,
        connections: connections(),
        manager: Manager::default(),
        exits: Exits::default(),
        services: Vec::new(),
    }
}

const fn connections() -> Connections {
    Connections { capacity: 1_000_000, orphan: Orphan::Drop, syn_guard: 100_000 }
}

/// The settings of a service.
#[must_use]
pub fn service(name: String, vip: IpAddr, port: u16, protocol: Protocol) -> ServiceSettings {
    ServiceSettings {
        name,
        vip,
        port,
        protocol,
        scheduler: Scheduler::Wrr,
        forward: ForwardMode::Mac,
        stale_timeout: stale_timeout(protocol, port),
        syn_timeout: Duration::from_secs(30),
        fin_timeout: Duration::from_secs(30),
        fin_count: 4000,
        on_down: OnDown::Keep,
        measure: false,
        weight_bound: WEIGHT_BOUND,
        proportions: None,
        slow_start: Duration::ZERO,
        affinity: Affinity::default(),
        advisor: None,
        agent: None,
    }
}

/// A backend of a service with this `weight_bound`.
#[must_use]
pub fn backend(name: String, address: IpAddr, weight_bound: u32) -> BackendConfig {
    BackendConfig {
        name,
        address,
        mac: None,
        weight: weight(weight_bound),
        fixed_weight: false,
        sorry: false,
        local: false,
        max_connections: 0,
        sticky: true,
    }
}

/// `stale_timeout`: 300 s; FTP control 900 s; UDP 30 s.
#[must_use]
pub fn stale_timeout(protocol: Protocol, port: u16) -> Duration {
    Duration::from_secs(match (protocol, port) {
        (Protocol::Udp, _) => 30,
        (Protocol::Tcp, FTP_CONTROL) => 900,
        (Protocol::Tcp, _) => 300,
    })
}

/// A backend's weight: half of `weight_bound`, rounded half up, at least 1.
#[must_use]
pub fn weight(weight_bound: u32) -> u32 {
    weight_bound.div_ceil(2).max(1)
}
