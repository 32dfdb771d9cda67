//! The connection table: how a flow's connection is found, moved on, entered and counted.

pub(crate) mod count;
pub(crate) mod insert;
pub(crate) mod lookup;
pub(crate) mod overflow;
pub(crate) mod position;
pub(crate) mod tracking;
mod victim;
