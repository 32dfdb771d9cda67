//! The connection table: finds a flow's connection, updates, enters and counts it.

pub(crate) mod lookup;
pub(crate) mod tracking;

pub(crate) mod insert;
mod victim;

pub(crate) mod overflow;

pub(crate) mod count;
pub(crate) mod position;
