//! The datapath in the kernel: loading, pinning, taking over, and typed access to its maps.

pub mod tables;

/// The datapath as built: a relocatable BPF object, aligned as the loader wants it.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dispatcher.bpf.o"));
