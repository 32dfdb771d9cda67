//! What can be typed to change services and backends.

use std::net::IpAddr;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser as Name};

use super::{Changing, Reading};
use crate::{
    api::types::{PatchAffinity, PatchService, Seconds},
    model::{ForwardMode, Mac, OnDown, Proportions, Protocol, Scheduler},
};

/// `service`.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Add a service
    Add(ServiceAdd),
    /// Change settings of a service
    Set(ServiceSet),
    /// Remove a service and its backends
    Remove(ServiceRemove),
}

/// `service add`.
#[derive(Debug, Args)]
pub struct ServiceAdd {
    /// Its name
    #[arg(value_parser = Name::new())]
    pub name: String,
    /// Address clients use
    #[arg(long, value_name = "ADDRESS")]
    pub vip: IpAddr,
    /// Port; 0: every port
    #[arg(long)]
    pub port: u16,
    /// Protocol
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    /// Everything else.
    #[command(flatten)]
    pub settings: ServiceSettings,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `service set`.
#[derive(Debug, Args)]
pub struct ServiceSet {
    /// Service
    #[arg(value_parser = Name::new())]
    pub service: String,
    /// What changes.
    #[command(flatten)]
    pub settings: ServiceSettings,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `service remove`.
#[derive(Debug, Args)]
pub struct ServiceRemove {
    /// Service
    #[arg(value_parser = Name::new())]
    pub service: String,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// Settings of a service that can change.
#[derive(Debug, Args)]
pub struct ServiceSettings {
    /// Scheduler for new connections
    #[arg(long, value_enum)]
    pub scheduler: Option<Scheduler>,
    /// Forwarding mode
    #[arg(long, value_enum)]
    pub forward: Option<ForwardMode>,
    /// Idle time after which a connection is removed
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub stale_timeout: Option<Seconds>,
    /// Idle time after which a half-open connection is removed
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub syn_timeout: Option<Seconds>,
    /// Idle time after which a closing connection is removed
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub fin_timeout: Option<Seconds>,
    /// Closing connections that are kept until the stale timeout
    #[arg(long, value_name = "N")]
    pub fin_count: Option<u64>,
    /// What becomes of established connections of a backend that goes down
    #[arg(long, value_enum)]
    pub on_down: Option<OnDown>,
    /// Measure response times and delivered bytes
    #[arg(long, value_name = "true|false")]
    pub measure: Option<bool>,
    /// Largest weight a backend may have
    #[arg(long, value_name = "N")]
    pub weight_bound: Option<u32>,
    /// How much each input of the manager counts: active, new, advisor, system, together 100; or `manager`: as for all services
    #[arg(long, value_name = "A,N,A,S", value_parser = own_proportions)]
    pub proportions: Option<OwnProportions>,
    /// How long a backend that comes back takes to get its whole weight
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub slow_start: Option<Seconds>,
    /// Time since a client's last connection after which it is placed anew; 0s: clients do not stay
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub affinity_timeout: Option<Seconds>,
    /// Leading bits that tell IPv4 clients apart
    #[arg(long, value_name = "BITS")]
    pub affinity_mask_v4: Option<u8>,
    /// Leading bits that tell IPv6 clients apart
    #[arg(long, value_name = "BITS")]
    pub affinity_mask_v6: Option<u8>,
    /// Ports of other services of the VIP whose clients find the same backend, with commas between, or `none`
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    pub cross_port: Option<Ports>,
}

impl From<ServiceSettings> for PatchService {
    fn from(s: ServiceSettings) -> Self {
        let affinity = PatchAffinity {
            timeout: s.affinity_timeout,
            mask_v4: s.affinity_mask_v4,
            mask_v6: s.affinity_mask_v6,
            cross_port: s.cross_port.map(|ports| ports.0),
        };
        Self {
            scheduler: s.scheduler,
            forward: s.forward,
            stale_timeout: s.stale_timeout,
            syn_timeout: s.syn_timeout,
            fin_timeout: s.fin_timeout,
            fin_count: s.fin_count,
            on_down: s.on_down,
            measure: s.measure,
            weight_bound: s.weight_bound,
            proportions: s.proportions.map(|own| own.0),
            slow_start: s.slow_start,
            affinity: (affinity != PatchAffinity::default()).then_some(affinity),
        }
    }
}

/// `backend`.
#[derive(Debug, Subcommand)]
pub enum Backend {
    /// Add a backend to a service
    Add(BackendAdd),
    /// Change settings of a backend
    Set(BackendSet),
    /// Remove a backend from a service
    Remove(BackendRemove),
}

/// `backend add`.
#[derive(Debug, Args)]
pub struct BackendAdd {
    /// Service
    #[arg(value_parser = Name::new())]
    pub service: String,
    /// Its name
    #[arg(value_parser = Name::new())]
    pub name: String,
    /// Its own address, by which its MAC is found
    #[arg(long)]
    pub address: IpAddr,
    /// Share of new connections [default: half of the service's weight bound]
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    /// Its MAC [default: looked up]
    #[arg(long)]
    pub mac: Option<Mac>,
    /// It is on this host
    #[arg(long)]
    pub local: bool,
    /// Active connections it takes at most; 0: any number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_connections: u32,
    /// Whether clients stay with it, where the service keeps them
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub sticky: bool,
    /// The manager leaves its weight alone
    #[arg(long)]
    pub fixed_weight: bool,
    /// It takes connections only where no other backend does
    #[arg(long)]
    pub sorry: bool,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backend set`.
#[derive(Debug, Args)]
pub struct BackendSet {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Its own address, by which its MAC is found
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// Share of new connections
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    /// Its MAC, or `auto`: looked up
    #[arg(long, value_parser = mac_or_auto)]
    pub mac: Option<MacOrAuto>,
    /// Whether it is on this host
    #[arg(long, value_name = "true|false")]
    pub local: Option<bool>,
    /// Active connections it takes at most; 0: any number
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Whether clients stay with it, where the service keeps them
    #[arg(long, value_name = "true|false")]
    pub sticky: Option<bool>,
    /// Whether the manager leaves its weight alone
    #[arg(long, value_name = "true|false")]
    pub fixed_weight: Option<bool>,
    /// Whether it takes connections only where no other backend does
    #[arg(long, value_name = "true|false")]
    pub sorry: Option<bool>,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backend remove`.
#[derive(Debug, Args)]
pub struct BackendRemove {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// A backend of a service: all that `quiesce`, `unquiesce`, `up` and `down` take; the file has no word for these.
#[derive(Debug, Args)]
pub struct TargetName {
    /// Service
    #[arg(value_parser = Name::new())]
    pub service: String,
    /// Backend
    #[arg(value_parser = Name::new())]
    pub backend: String,
}

/// `quiesce`.
#[derive(Debug, Args)]
pub struct Quiesce {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Clients with an affinity record of it go elsewhere, too, at once
    #[arg(long)]
    pub now: bool,
    /// After so long, take it down if it has connections left: these are broken
    #[arg(long, value_name = "TIME", value_parser = some_seconds)]
    pub deadline: Option<Seconds>,
    /// Show how many connections it has left, until it has none (status 0) or the deadline has passed (status 1)
    #[arg(long)]
    pub wait: bool,
}

/// `weight`.
#[derive(Debug, Args)]
pub struct Weight {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Weight, 0 to the service's weight bound; 0: no new connections
    #[arg(value_name = "N")]
    pub weight: u32,
    /// The manager leaves it alone, also after the backend is configured anew
    #[arg(long, conflicts_with = "managed")]
    pub fixed: bool,
    /// The manager goes on from there
    #[arg(long)]
    pub managed: bool,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `manager`.
#[derive(Debug, Subcommand)]
pub enum Manager {
    /// Show what each backend's weight is made of
    Report(Reading),
    /// Change a setting of the manager
    Set(ManagerSet),
}

/// `manager set`.
#[derive(Debug, Args)]
pub struct ManagerSet {
    /// Which setting, as the configuration names it
    #[arg(value_parser = ["enabled", "interval", "refresh", "sensitivity", "smoothing", "report_timeout", "proportions"])]
    pub key: String,
    /// Its value, as the configuration writes it; proportions as active,new,advisor,system
    #[arg(value_parser = Name::new())]
    pub value: String,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// Proportions of a service's own, or those of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnProportions(pub Option<Proportions>);

fn own_proportions(text: &str) -> Result<OwnProportions, String> {
    if text == "manager" {
        return Ok(OwnProportions(None));
    }
    proportions(text).map(|all| OwnProportions(Some(all)))
}

/// Proportions as they are typed: `50,50,0,0`.
///
/// # Errors
/// They are not four numbers.
pub fn proportions(text: &str) -> Result<Proportions, String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let all = numbers.ok().and_then(|numbers| <[u32; 4]>::try_from(numbers).ok());
    all.map(Proportions::of).ok_or_else(|| {
        "expected active,new,advisor,system, together 100, such as 50,50,0,0".to_owned()
    })
}

/// A MAC, or that it is to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacOrAuto(pub Option<Mac>);

fn mac_or_auto(text: &str) -> Result<MacOrAuto, String> {
    match text {
        "auto" => Ok(MacOrAuto(None)),
        mac => mac.parse().map(|mac| MacOrAuto(Some(mac))).map_err(|e| format!("{e}")),
    }
}

/// A list of ports, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<u16>);

fn ports(text: &str) -> Result<Ports, String> {
    if text == "none" {
        return Ok(Ports(Vec::new()));
    }
    let ports = text.split(',').map(|port| port.trim().parse());
    ports
        .collect::<Result<_, _>>()
        .map(Ports)
        .map_err(|_: std::num::ParseIntError| "expected ports such as 80,443, or none".to_owned())
}

fn some_seconds(text: &str) -> Result<Seconds, String> {
    let seconds = seconds(text)?;
    if seconds.0.is_zero() { Err("expected more than 0s".to_owned()) } else { Ok(seconds) }
}

fn seconds(text: &str) -> Result<Seconds, String> {
    humantime::parse_duration(text)
        .map(Seconds)
        .map_err(|_| "expected a duration such as 300s or 5m".to_owned())
}
