//! What a forwarding mode changes in a frame: one file each.

pub mod mac;
