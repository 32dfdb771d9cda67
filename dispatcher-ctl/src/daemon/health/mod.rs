//! The state of backends, and why.

pub(super) mod advice;
pub(super) mod passive;
pub(super) mod standstill;
pub(super) mod states;
