//! The metric agent: how loaded is the machine that it runs on?
//!
//! On a backend, [`serve`] measures ([`metrics`]) and answers; the advisor of kind `agent` asks ([`ask`]). Both know one key
//! ([`Key`]), and speak as [`protocol`] says.

mod config;
mod key;
mod metrics;
mod protocol;
mod server;

pub use config::{AgentConfig, Metric, Source};
pub use key::Key;
pub use protocol::{Report, ask};
pub use server::serve;
