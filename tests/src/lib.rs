//! The packet harness, shared by the packet tests, the end-to-end tests and the benchmark: packets, the loaded datapath with
//! maps filled from plain values, and a reference model of it. Laboratories of network namespaces are `dispatcher-lab`'s.

pub mod case;
pub mod datapath;
pub mod fill;
pub mod model;
pub mod packet_builder;
pub mod traffic;
