//! The choice of a backend for a new connection.

pub mod affinity;
pub mod rules;

pub mod least;
pub mod sampled;
