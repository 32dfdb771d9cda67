//! What is changed in a frame: one file for each forwarding mode, and one for the answer to a client.

pub mod mac;
pub mod reset;
