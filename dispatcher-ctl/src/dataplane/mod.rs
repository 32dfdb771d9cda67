//! The datapath in the kernel: loading, pinning, taking over, and typed access to its maps.

pub mod tables;
