//! Controller of the dispatcher.
//!
//! The control loop: a configuration ([`config`]) is merged with what was set at runtime ([`reconcile`]) into the
//! desired state ([`model::State`]). The daemon combines that with what it knows about NICs and neighbours
//! ([`network`]), computes the contents of maps ([`datapath`], [`schedule`]) and writes the difference. [`advisor`]
//! probes backends, by VIP through [`prober`]. [`api`], [`cli`] and [`metrics`] send requests to the daemon.

pub mod advisor;
pub mod agent;
pub mod api;
pub mod capabilities;
pub mod cli;
mod command;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod fault;
pub mod files;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod network;
pub mod prober;
pub mod reconcile;
pub mod schedule;
pub mod serve;
pub mod settings;
pub mod standstill;
pub mod values;
