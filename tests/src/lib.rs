//! Shared by the tests and the demo: packets and the loaded datapath, and laboratories of network namespaces with real
//! servers in them.

pub mod cpus;
pub mod lab;
pub mod packet_builder;

#[cfg(feature = "datapath")]
pub mod case;
#[cfg(feature = "datapath")]
pub mod datapath;
#[cfg(feature = "datapath")]
pub mod model;
#[cfg(feature = "datapath")]
pub mod traffic;
