//! What can be typed to change services and backends.

use clap::{
    Args, Subcommand,
    builder::{NonEmptyStringValueParser as Name, PossibleValue, PossibleValuesParser},
};

use super::{Changing, Reading};
use crate::{
    api::types::{PatchBackend, PatchService, PutBackend, PutService, Seconds},
    settings::{self, help::help, row::Table as _},
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
    /// Its settings.
    #[command(flatten)]
    pub settings: PutService,
    /// Whether the change is also written to the file.
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
    pub settings: PatchService,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
}

/// `service remove`.
#[derive(Debug, Args)]
pub struct ServiceRemove {
    /// Service
    #[arg(value_parser = Name::new())]
    pub service: String,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
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
    /// Its settings.
    #[command(flatten)]
    pub settings: PutBackend,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backend set`.
#[derive(Debug, Args)]
pub struct BackendSet {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// What changes.
    #[command(flatten)]
    pub settings: PatchBackend,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
}

/// `backend remove`.
#[derive(Debug, Args)]
pub struct BackendRemove {
    /// Which.
    #[command(flatten)]
    pub target: TargetName,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
}

/// A backend of a service: what `quiesce`, `unquiesce`, `up` and `down` take, which are not saved.
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
    /// Clients with an affinity record for it also use other backends at once
    #[arg(long)]
    pub now: bool,
    /// After this time, take it down if it has connections left; these are broken
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
    /// The manager leaves this weight alone, also after the backend is configured again
    #[arg(long, conflicts_with = "managed")]
    pub fixed: bool,
    /// The manager continues from this weight
    #[arg(long)]
    pub managed: bool,
    /// Whether the change is also written to the file.
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
    #[arg(value_parser = PossibleValuesParser::new(manager_keys()))]
    pub key: String,
    /// Its value, as the configuration writes it; proportions as active,new,advisor,system
    #[arg(value_parser = Name::new())]
    pub value: String,
    /// Whether the change is also written to the file.
    #[command(flatten)]
    pub changing: Changing,
}

/// The keys of the manager's settings, with their help.
fn manager_keys() -> impl Iterator<Item = PossibleValue> {
    let keys = settings::Manager::ROWS.iter().map(|row| row.key);
    keys.map(|key| PossibleValue::new(key).help(help::<settings::Manager>(key, false, false)))
}

fn some_seconds(text: &str) -> Result<Seconds, &'static str> {
    let seconds: Seconds = text.parse()?;
    if seconds.0.is_zero() { Err("expected more than 0s") } else { Ok(seconds) }
}
