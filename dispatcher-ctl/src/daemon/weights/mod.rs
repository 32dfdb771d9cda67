//! Weights of backends.

pub(super) mod manage;
