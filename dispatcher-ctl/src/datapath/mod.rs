//! The datapath in the kernel: loading, pinning, taking over, and typed access to its maps.
//!
//! The daemon holds a [`Datapath`]. Below it, from the kernel upwards: `bpf` and `mapped` (system calls and memory), `pins` and
//! `namespace` (the pin directory, its lock, and whether its namespace still exists), `maps` and `load` (the set of maps and the
//! program), `saved` (the saved state), `probes` (programs that carry probes of VIPs), [`publish`] with `kernel` (writes the wanted
//! contents of maps), [`connections`] and `counters` (what the datapath reports).

mod affinity;
mod bpf;
pub mod clock;
pub mod connections;
mod counters;
mod error;
mod handle;
mod kernel;
mod load;
#[cfg(feature = "datapath-log")]
mod log;
mod mapped;
mod maps;
mod measurement;
mod namespace;
mod pins;
mod pool;
mod probes;
pub mod publish;
mod refusal;
mod refused;
mod saved;
mod sections;
pub mod tables;

pub use affinity::AffinityRecords;
pub use counters::{CounterReader, Counters};
pub use error::DatapathError;
pub use handle::{Attached, Datapath, Origin, remove_all};
pub use measurement::Responses;
pub use namespace::remove_dead_namespaces;
pub use probes::{ProbeEnds, ProbePrograms, is_attached, leaves_filters, remove_filter};
pub use publish::Changes;
pub use refused::{Refused, RefusedRedirects};
pub use saved::{Document, Place, SavedDocuments, SavedTexts};

/// The datapath as built: a relocatable BPF object, aligned as the loader wants it.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dispatcher.bpf.o"));
