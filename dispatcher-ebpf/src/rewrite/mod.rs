//! Changes to a frame: one file for each forwarding mode, and one for each answer to a client.

pub(crate) mod checksum;
mod headers;
pub mod mac;
pub mod reset;
pub mod too_big;
