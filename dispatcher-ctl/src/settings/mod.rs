//! The settings: each is declared once, with its type, default, description and bounds, in the file of its object
//! ([`service`], [`backend`], [`advisor`] …).
//!
//! [`declare`] holds the macro that turns a declaration into a struct, a table of its settings ([`row`]) and the types of the
//! API. The reader, `--save`, the merge with what runs, plans and documentation walk the table; the command line takes the
//! API's types as its options. [`value`] and [`stated`] read, write, show and parse each type of value.
//! What settings mean, and whether they go together, is decided elsewhere.

use std::sync::LazyLock;

use self::{advisor::AGENT_KEYS, keys::Keys, row::Table as _};

pub(crate) mod advisor;
mod affinity;
mod backend;
pub(crate) mod bounds;
mod connections;
pub(crate) mod declare;
pub(crate) mod document;
mod error;
mod exits;
mod global;
pub(crate) mod help;
pub(crate) mod keys;
mod manager;
mod passive;
mod proportions;
#[cfg(test)]
mod reference;
pub(crate) mod row;
mod rule;
pub mod schema;
pub(crate) mod section;
mod service;
pub(crate) mod show;
pub(crate) mod spec;
mod stated;
pub(crate) mod value;

pub use advisor::{AGENT_PORT, Advisor};
pub use affinity::{Affinity, AffinityView, PatchAffinity};
pub use backend::{BackendConfig, PatchBackend, PutBackend};
pub use connections::Connections;
pub(crate) use declare::settings;
pub use error::{ConfigError, ConfigErrors, MOST_LISTED, Place, Problem};
pub use exits::Exits;
pub use global::{API_SOCKET, GlobalSettings};
pub use manager::{Manager, ManagerSettings, PatchManager};
pub use passive::Passive;
pub use proportions::Proportions;
pub use rule::RuleConfig;
pub use service::{PatchService, PutService, ServiceSettings, ServiceView};
pub use stated::{Nullable, Said, SaidOf, ShownOf, Stated};
pub(crate) use stated::{from_json, names, parser};

/// The keys of all tables of a configuration, in the order in which a misplaced key is looked for.
pub(crate) static TABLES: LazyLock<[&Keys; 12]> = LazyLock::new(|| {
    [
        GlobalSettings::KEYS,
        Connections::KEYS,
        Manager::KEYS,
        Proportions::KEYS,
        Exits::KEYS,
        ServiceSettings::KEYS,
        Affinity::KEYS,
        Advisor::KEYS,
        &AGENT_KEYS,
        Passive::KEYS,
        BackendConfig::KEYS,
        RuleConfig::KEYS,
    ]
});
