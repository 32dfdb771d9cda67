//! The contract between the dispatcher's XDP datapath and its controller.
//!
//! Everything on which both sides must agree is declared here once: the values in maps, the bits of a connection-table
//! word, the flow hash, the reasons for which packets leave the path, limits and map names. The crate is `no_std` and builds
//! for the BPF target and for the host.
//!
//! Layout rules: `#[repr(C)]`, fixed-width integers and byte arrays only, no implicit padding, all-zero is a valid value.
//! Addresses and ports are byte arrays in network order; every other integer is in host order (BPF objects are
//! little-endian, and so is every host this is built for).

#![cfg_attr(not(test), no_std)]

#[cfg(not(target_endian = "little"))]
compile_error!("the shared layout is little-endian");

#[macro_use]
pub mod shared;

pub mod backend;
pub mod connection;
pub mod counts;
pub mod flow;
pub mod fragment;
pub mod limits;
pub mod maps;
pub mod measure;
pub mod net;
pub mod probe;
pub mod reason;
pub mod refused;
pub mod rule;
pub mod service;
pub mod settings;

/// A public constant with its documentation.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// Its name.
    pub name: &'static str,
    /// Its value, as the code writes it.
    pub value: &'static str,
    /// Its doc comment.
    pub text: &'static str,
}
