//! The packet harness, shared by the packet tests, the end-to-end tests and the benchmark: packets, the loaded datapath with
//! maps filled from plain values, and its reference model. The crate `dispatcher-lab` has the laboratories of network
//! namespaces.

pub mod case;
pub mod datapath;
pub mod fill;
pub mod model;
pub mod packet_builder;
pub mod traffic;
