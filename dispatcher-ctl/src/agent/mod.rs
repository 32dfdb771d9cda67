//! The metric agent: reports the load of the machine on which it runs.
//!
//! On a backend, [`serve`] measures ([`metrics`]) and answers; the advisor of kind `agent` asks ([`ask`]). Both have
//! the same key ([`Key`]) and use the protocol in [`protocol`].

mod config;
mod key;
mod metrics;
mod protocol;
mod server;

pub use config::{AgentConfig, Metric, Source};
pub use key::Key;
pub use protocol::{Report, ask};
pub use server::serve;
