//! Redirects that a device refused. The datapath has counted these packets as forwarded; only the kernel's tracepoints report
//! that they were dropped. The programs at the tracepoints, and their counts, end with this process.

use std::fs;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
    programs::TracePoint,
};
use dispatcher_common::{maps, refused::RefusedKey};

use super::{
    Datapath,
    error::DatapathError,
    load::{self, undisturbed},
};

/// A program, its tracepoint, and the fields that it reads with their offsets.
type Watch = (&'static str, &'static str, &'static [(&'static str, u32)]);

const WATCHES: [Watch; 2] = [
    (
        "redirect_refused",
        "xdp_redirect_err",
        &[("ifindex", 16), ("err", 20), ("to_ifindex", 24), ("map_id", 28)],
    ),
    (
        "sending_refused",
        "xdp_devmap_xmit",
        &[("from_ifindex", 8), ("to_ifindex", 16), ("drops", 20), ("err", 28)],
    ),
];
/// Where the kernel describes tracepoints.
const TRACING: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Counts refused redirects.
#[derive(Debug)]
pub struct RefusedRedirects {
    /// Keeps the programs attached.
    _ebpf: Ebpf,
    counts: HashMap<MapData, RefusedKey, u64>,
    /// The kernel's id of our device map.
    devices: u32,
}

/// Packets that a NIC refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// ifindex of the NIC by which they came.
    pub from: u32,
    /// ifindex of the NIC that refused them.
    pub to: u32,
    /// The reason: an errno; 0 if the queue was full.
    pub errno: i32,
    /// How many.
    pub packets: u64,
}

impl Datapath {
    /// Starts to count redirects that devices refuse.
    ///
    /// # Errors
    /// The kernel's tracepoints cannot be used; nothing else depends on them.
    pub fn refused_redirects(&self) -> Result<RefusedRedirects, DatapathError> {
        WATCHES.iter().try_for_each(check)?;
        let mut ebpf = load::load_object(self.pins(), &self.section_contents())?;
        for (name, tracepoint, _) in WATCHES {
            let program: &mut TracePoint = load::program(&mut ebpf, name)?;
            undisturbed(|| program.load()).map_err(DatapathError::Program)?;
            program.attach("xdp", tracepoint).map_err(DatapathError::Program)?;
        }
        let counts = load::take_hash(&mut ebpf, maps::REFUSED)?;
        Ok(RefusedRedirects { _ebpf: ebpf, counts, devices: self.devices_id() })
    }
}

impl RefusedRedirects {
    /// The counts between these NICs, given by ifindex. Of packets that a driver refused only indices are known, which another network
    /// namespace may use, too: if both are ours, the packet most likely is ours.
    #[must_use]
    pub fn read(&self, nics: &[u32]) -> Vec<Refused> {
        let is_ours = |key: &RefusedKey| {
            let by_us = key.map_id == self.devices || key.map_id == 0;
            by_us && nics.contains(&key.from) && nics.contains(&key.to)
        };
        let counted = self.counts.iter().filter_map(Result::ok);
        let ours = counted.filter(|(key, _)| is_ours(key));
        ours.map(|(key, packets)| Refused {
            from: key.from,
            to: key.to,
            errno: key.error.saturating_neg(),
            packets,
        })
        .collect()
    }
}

/// Checks that the kernel records a tracepoint's fields where the program reads them.
fn check((_, tracepoint, fields): &Watch) -> Result<(), DatapathError> {
    let format = TRACING
        .iter()
        .find_map(|dir| fs::read_to_string(format!("{dir}/events/xdp/{tracepoint}/format")).ok())
        .ok_or_else(|| {
            DatapathError::Invalid(format!(
                "tracepoint xdp:{tracepoint} cannot be read in {}, expected a mounted tracefs",
                TRACING[0]
            ))
        })?;
    let lacks = |(name, offset): &&(&str, u32)| {
        !format.contains(&format!(" {name};\toffset:{offset};\tsize:4;"))
    };
    match fields.iter().find(lacks) {
        None => Ok(()),
        Some((name, offset)) => Err(DatapathError::Invalid(format!(
            "tracepoint xdp:{tracepoint} has no field {name} at offset {offset}"
        ))),
    }
}
