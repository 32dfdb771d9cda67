//! Reconciliation: the running state, the wanted one, and their difference. Pure.
//!
//! [`merge()`] merges the file as last applied, the current file and what was set at runtime; [`edit`] makes one change at
//! runtime; [`plan()`] lists what either would change; [`tables()`] turns the result into the contents of maps.

mod affinity;
mod change;
pub mod edit;
mod ids;
mod merge;
mod next_hop;
mod plan;
mod rules;
mod settle;
mod tables;
mod weights;

pub use affinity::affinity_ticks;
pub use change::{Change, Dirty, Pair};
pub use merge::merge;
pub use next_hop::{NextHop, Nic, down_reason, idle_reason, next_hop};
pub use plan::{PlanLine, plan, plan_settings};
pub use rules::{LocalTime, Measured, Rate, active};
pub use tables::{lingering, service_ticks, tables};
pub use weights::{come_back, delay, is_coming_back};

#[cfg(test)]
pub(crate) mod testing;
