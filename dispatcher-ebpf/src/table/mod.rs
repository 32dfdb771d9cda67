//! The connection table: what a packet does to its connection, and which entry gives way to a new one.

pub mod tracking;
pub mod victim;
