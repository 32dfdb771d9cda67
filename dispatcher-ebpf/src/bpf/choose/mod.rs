//! The choice of a backend for a new connection.

mod affinity;
mod least;
mod members;
pub(crate) mod new_connection;
mod rules;
mod sampled;
mod schedule;
