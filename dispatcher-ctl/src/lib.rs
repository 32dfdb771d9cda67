//! Controller of the dispatcher.
//!
//! The control loop: a configuration ([`config`]) is merged with what was set at runtime ([`reconcile`]) into what
//! should run ([`model::State`]); the daemon turns that, with what it knows of NICs and neighbours ([`network`]), into the
//! contents of maps ([`dataplane`], [`schedule`]) and writes the difference. [`advisor`] probes backends, through
//! [`prober`] by the VIP. Everything else asks the daemon: [`api`],
//! [`cli`], [`metrics`].

pub mod advisor;
pub mod agent;
pub mod api;
pub mod capabilities;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
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
