//! The BPF objects built from `dispatcher-lab-ebpf`.

/// Programs `pass`, `swallow` and `flood`.
pub(crate) static TRAFFIC: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lab-traffic.bpf.o"));
/// The benchmark's driver.
pub static DRIVER: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench-driver.bpf.o"));
/// The benchmark's floor programs.
pub static FLOORS: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench-floors.bpf.o"));
/// The benchmark's generator of real frames, and the sink that receives them.
pub static LIVE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench-live.bpf.o"));
