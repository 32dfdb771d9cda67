//! Changes to a frame: one file per forwarding mode, and one per answer to a client.

pub(crate) mod checksum;
mod headers;
pub mod mac;
pub mod reset;
pub mod too_big;
