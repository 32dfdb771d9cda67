//! The choice of a backend for a new connection.

pub mod affinity;
pub mod rules;
pub mod sampled;
pub mod schedule;
