//! The choice of a backend for a new connection.

pub(crate) mod affinity;
pub(crate) mod new_connection;
mod rules;
mod sampled;
pub(crate) mod schedule;
