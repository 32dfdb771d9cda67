//! Shared by the tests and the demo: packets and the loaded datapath, laboratories of network namespaces.

pub mod packet_builder;

#[cfg(feature = "datapath")]
pub mod case;
#[cfg(feature = "datapath")]
pub mod datapath;
