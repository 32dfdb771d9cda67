//! What can be typed. No logic.

use std::{net::IpAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint, builder::NonEmptyStringValueParser as Name,
};
use clap_complete::Shell;

use crate::{
    api::types::{PatchService, Seconds},
    model::{ForwardMode, Mac, OnDown, Protocol, Scheduler, XdpMode},
};

/// Layer-4 load balancer with an XDP datapath.
///
/// SERVICE and BACKEND are names, or addresses where these are unambiguous.
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no daemon.
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The daemon's API socket [default: /run/dispatcher/api.sock]
    #[arg(long, global = true, env = "DISPATCHER_API_SOCKET", value_name = "PATH")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub api_socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon in the foreground
    Run(Run),
    /// Validate a configuration, without daemon or root; lists every error
    Check(Check),
    /// Show what a reload would change
    Plan(Plan),
    /// Reread the configuration file and apply what changed in it
    Reload(Reading),
    /// Attach to an interface
    Attach(Attach),
    /// Detach from an interface, or remove everything
    Detach(Detach),
    /// Show everything on one screen
    Status(Reading),
    /// List services
    Services(Reading),
    /// List backends
    Backends(Backends),
    /// List connections; half-open ones are counted in `backends`, not listed
    Connections(Connections),
    /// Add, change or remove a service
    #[command(subcommand)]
    Service(Service),
    /// Add, change or remove a backend
    #[command(subcommand)]
    Backend(Backend),
    /// Set a backend's weight: its share of new connections
    Weight(Weight),
    /// Give a backend no new connections; existing ones go on
    Quiesce(TargetName),
    /// Give a backend new connections again
    Unquiesce(TargetName),
    /// Take a backend up by hand
    Up(TargetName),
    /// Take a backend down by hand
    Down(TargetName),
    /// Print a shell's completions
    Completions(Completions),
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Leave the datapath attached when stopped: it goes on forwarding
    #[arg(long)]
    pub leave_attached: bool,
    /// Format of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, or a filter such as `info,dispatcher_ctl::network=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Configuration file, instead of the daemon's own
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// How it is shown.
    #[command(flatten)]
    pub reading: Reading,
}

/// What every reading verb takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Reading {
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

/// Formats of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: times and sizes abbreviated.
    Table,
    /// For programs: seconds and bytes.
    Json,
}

/// What every changing verb takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Changing {
    /// Write the change to the configuration file, too
    #[arg(long)]
    pub save: bool,
}

/// `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Interface
    #[arg(value_name = "IFACE", value_parser = Name::new())]
    pub interface: String,
    /// Where the program runs [default: as configured]
    #[arg(long, value_enum)]
    pub mode: Option<XdpMode>,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `detach`.
#[derive(Debug, Args)]
pub struct Detach {
    /// Interface
    #[arg(value_name = "IFACE", value_parser = Name::new())]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub interface: Option<String>,
    /// Remove the datapath, its pins and the VIPs it added; needs no daemon
    #[arg(long, conflicts_with = "save")]
    pub all: bool,
    /// Where the datapath is pinned [default: /sys/fs/bpf/dispatcher]
    // Without the conflict clap forgives the missing --all, because that conflicts with IFACE.
    #[arg(long, requires = "all", conflicts_with = "interface")]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub pin_dir: Option<PathBuf>,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backends`.
#[derive(Debug, Args)]
pub struct Backends {
    /// Only this service's
    #[arg(value_parser = Name::new())]
    pub service: Option<String>,
    /// How they are shown.
    #[command(flatten)]
    pub reading: Reading,
}

/// `connections`.
#[derive(Debug, Args)]
pub struct Connections {
    /// Only this service's
    #[arg(value_parser = Name::new())]
    pub service: Option<String>,
    /// Only this client's
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// Only this backend's
    #[arg(long, value_parser = Name::new())]
    pub backend: Option<String>,
    /// At most so many [default: 1000]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// How they are shown.
    #[command(flatten)]
    pub reading: Reading,
}

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
    /// Largest weight a backend may have
    #[arg(long, value_name = "N")]
    pub weight_bound: Option<u32>,
}

impl From<ServiceSettings> for PatchService {
    fn from(s: ServiceSettings) -> Self {
        Self {
            scheduler: s.scheduler,
            forward: s.forward,
            stale_timeout: s.stale_timeout,
            syn_timeout: s.syn_timeout,
            fin_timeout: s.fin_timeout,
            fin_count: s.fin_count,
            on_down: s.on_down,
            weight_bound: s.weight_bound,
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

/// `weight`.
#[derive(Debug, Args)]
pub struct Weight {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Weight, 0 to the service's weight bound; 0: no new connections
    #[arg(value_name = "N")]
    pub weight: u32,
    /// Whether the file shall say it.
    #[command(flatten)]
    pub changing: Changing,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
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

fn seconds(text: &str) -> Result<Seconds, String> {
    humantime::parse_duration(text)
        .map(Seconds)
        .map_err(|_| "expected a duration such as 300s or 5m".to_owned())
}
