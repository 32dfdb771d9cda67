//! The connection table: the effect of a packet on its connection, and the entry that a new connection takes.

pub mod tracking;

pub mod insert;
pub mod victim;
