//! The connection table as the controller sees it: memory shared with the datapath.
//!
//! [`ConnectionTable`] maps it. [`sweep`](ConnectionTable::sweep) counts connections and removes idle ones, as the
//! [`Timeouts`] of their services say; the [`Sweeper`] is a thread that does so all the time. [`list`](ConnectionTable::list)
//! names connections. Nothing here blocks the datapath: ways change by compare-and-swap only, on both sides.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use dispatcher_common::{
    connection::{Bucket, WAYS},
    flow::HASH_KEYS,
    limits::MAX_SLOTS,
    maps,
    settings::Settings,
};

mod active;
mod list;
mod overflow;
mod recount;
mod sweep;
mod sweeper;
mod timeouts;

pub use active::ActiveCounts;
pub use list::{Connection, Filter, Listing, SlotSet};
pub use sweep::{Expired, SlotCounts, Sweep};
pub use sweeper::{SweepResult, Sweeper};
pub use timeouts::{ServiceTimeouts, Timeouts};

use super::{
    bpf::Map,
    error::DatapathError,
    mapped::{Mapped, mapped, open, word_of},
};

/// The mapped connection table.
#[derive(Debug)]
pub struct ConnectionTable {
    /// Where it is pinned.
    dir: PathBuf,
    ways: Mapped<Bucket>,
    active: ActiveCounts,
    /// Half-open connections that expired, by slot, since this table was mapped.
    unanswered: Box<[AtomicU64]>,
    /// Mapped while connections are listed.
    flows: Map,
    settings: Mapped<Settings>,
    overflow: Map,
    hash_keys: [u64; HASH_KEYS],
}

impl ConnectionTable {
    /// Maps the table of a directory of pins.
    pub(super) fn open(dir: &Path) -> Result<Self, DatapathError> {
        let settings: Mapped<Settings> = mapped(dir, maps::SETTINGS)?;
        let key = |i| settings.load(0, word_of!(Settings, hash_keys) + i);
        Ok(Self {
            dir: dir.to_owned(),
            ways: mapped(dir, maps::CONNECTIONS)?,
            active: ActiveCounts::open(dir)?,
            unanswered: (0..MAX_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            flows: open(dir, maps::FLOWS)?,
            hash_keys: std::array::from_fn(key),
            settings,
            overflow: open(dir, maps::OVERFLOW)?,
        })
    }

    /// Buckets of the table.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.ways.words().len() / WAYS
    }

    /// The current number of connections.
    #[must_use]
    pub const fn active(&self) -> &ActiveCounts {
        &self.active
    }

    /// Half-open connections of a slot that expired since this controller started.
    #[must_use]
    pub fn unanswered(&self, slot: u32) -> u64 {
        self.unanswered.get(slot as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// `connections.capacity` that the table was made for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.settings.load(0, word_of!(Settings, capacity))
    }
}
