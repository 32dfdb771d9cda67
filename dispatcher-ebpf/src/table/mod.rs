//! The connection table: what a packet does to its connection, and which entry a new connection takes.

pub mod insert;
pub mod tracking;
pub mod victim;
