//! The choice of a backend for a new connection.

pub(crate) mod new_connection;

mod affinity;
mod rules;

mod schedule;

mod least;
mod members;
mod sampled;
