//! The arguments of the command line. No logic.

use std::{net::IpAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint, builder::NonEmptyStringValueParser as Name,
};
use clap_complete::Shell;

use crate::{model::XdpMode, settings::API_SOCKET};

mod agent;
mod change;

pub use agent::Agent;
pub use change::{
    Backend, BackendAdd, BackendRemove, BackendSet, Manager, ManagerSet, Quiesce, Service,
    ServiceAdd, ServiceRemove, ServiceSet, TargetName, Weight,
};

/// Layer-4 load balancer with an XDP datapath.
///
/// SERVICE and BACKEND are names, or addresses if these are unambiguous.
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no daemon.
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The daemon's API socket.
    #[arg(help = format!("The daemon's API socket [default: {API_SOCKET}]"))]
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
    /// Check a configuration, without daemon or root; lists every error
    Check(Check),
    /// Show what a reload would change
    Plan(Plan),
    /// Read the configuration file again and apply what changed in it
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
    /// Give a backend no new connections; existing ones continue
    Quiesce(Quiesce),
    /// Give a backend new connections again
    Unquiesce(TargetName),
    /// Mark a backend as up by hand
    Up(TargetName),
    /// Mark a backend as down by hand
    Down(TargetName),
    /// Show events as they happen, until Ctrl-C
    Events(Events),
    /// Show or change how weights are computed
    #[command(subcommand)]
    Manager(Manager),
    /// Show what advisors found
    #[command(subcommand)]
    Advisor(Advisor),
    /// Report this machine's load to the dispatcher; runs on a backend, needs no daemon
    Agent(Agent),
    /// Print the completion script for a shell
    Completions(Completions),
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only events of this service
    #[arg(value_parser = Name::new())]
    pub service: Option<String>,
    /// Format of the output; json: one event per line
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

/// `advisor`.
#[derive(Debug, Subcommand)]
pub enum Advisor {
    /// Show what probes of each backend found
    Report(Reading),
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Leave the datapath attached when the daemon stops: it continues to forward
    #[arg(long)]
    pub leave_attached: bool,
    /// Format of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log level: error, warn, info, debug or trace, or a filter such as `info,dispatcher_ctl::network=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
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

/// Arguments of every verb that reads.
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

/// Arguments of every verb that changes something.
#[derive(Clone, Copy, Debug, Args)]
pub struct Changing {
    /// Also write what runs, with this change, to the configuration file
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
    /// Whether to save the change.
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
    // Without the conflict clap accepts a missing --all, because that conflicts with IFACE.
    #[arg(long, requires = "all", conflicts_with = "interface")]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub pin_dir: Option<PathBuf>,
    /// Whether to save the change.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backends`.
#[derive(Debug, Args)]
pub struct Backends {
    /// Only backends of this service
    #[arg(value_parser = Name::new())]
    pub service: Option<String>,
    /// How they are shown.
    #[command(flatten)]
    pub reading: Reading,
}

/// `connections`.
#[derive(Debug, Args)]
pub struct Connections {
    /// Only connections of this service
    #[arg(value_parser = Name::new())]
    pub service: Option<String>,
    /// Only connections of this client
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// Only connections to this backend
    #[arg(long, value_parser = Name::new())]
    pub backend: Option<String>,
    /// Largest number of connections to list [default: 1000]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// How they are shown.
    #[command(flatten)]
    pub reading: Reading,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}
