//! The memory of measurement: allocated for the first service that is measured, freed after the last one.
//!
//! Each of `EXCHANGES` and `RESPONSES` holds one array, which is also pinned, because an unprivileged process may not open
//! a map by its id. `EXCHANGES` is filled last and emptied first: while it holds an array, everything is there.

use std::{
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use aya_obj::generated::BPF_F_INNER_MAP;
use dispatcher_common::{
    connection::WAYS,
    limits::MAX_SLOTS,
    maps,
    measure::{Exchange, RESPONSE_BUCKETS, ResponseCounts},
};

use super::{
    bpf::Map,
    error::DatapathError,
    mapped::{Mapped, mapped, open},
    pins::unpin,
};

/// Key of the one element of an array of maps.
const ONLY: [u8; 4] = [0; 4];

/// Measurements of a backend, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Responses {
    /// Bytes that clients acknowledged.
    pub delivered: u64,
    /// Sum of response times, in microseconds.
    pub micros: u64,
    /// Responses by [`dispatcher_common::measure::RESPONSE_BOUNDS`], each counted once.
    pub buckets: [u64; RESPONSE_BUCKETS],
}

impl Responses {
    /// From the words of a summed [`ResponseCounts`].
    pub(super) fn of(words: &[u64]) -> Option<Self> {
        let [delivered, micros, buckets @ ..] = words else { return None };
        Some(Self { delivered: *delivered, micros: *micros, buckets: buckets.try_into().ok()? })
    }

    /// The number of responses.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The maps of measurement.
#[derive(Debug)]
pub(super) struct Measurement {
    dir: PathBuf,
    exchanges: Map,
    responses: Map,
    /// The array in `responses`, while there is one.
    slots: RwLock<Option<Arc<Map>>>,
}

impl Measurement {
    /// Opens the pinned maps.
    pub(super) fn open(dir: &Path) -> Result<Self, DatapathError> {
        let opened = Self {
            dir: dir.to_owned(),
            exchanges: open(dir, maps::EXCHANGES)?,
            responses: open(dir, maps::RESPONSES)?,
            slots: RwLock::new(None),
        };
        if opened.is_filled()? {
            opened.remember(Some(open(dir, maps::RESPONSES_SLOTS)?));
        }
        Ok(opened)
    }

    /// Whether there is memory to measure with.
    pub(super) fn is_on(&self) -> bool {
        self.slots().is_some()
    }

    /// Makes the arrays and puts them where the datapath finds them.
    ///
    /// # Errors
    /// The kernel refuses, for example for lack of memory.
    pub(super) fn start(&self) -> Result<(), DatapathError> {
        let buckets = open(&self.dir, maps::CONNECTIONS)?.info().max_entries;
        let ways = buckets * WAYS as u32;
        let (slots, exchanges) = (responses_array()?, exchanges_array(ways)?);
        self.pin(&slots, maps::RESPONSES_SLOTS)?;
        self.pin(&exchanges, maps::EXCHANGES_WAYS)?;
        put(&self.responses, &slots, maps::RESPONSES)?;
        put(&self.exchanges, &exchanges, maps::EXCHANGES)?;
        self.remember(Some(slots));
        Ok(())
    }

    /// Removes the arrays; the kernel frees them when no packet uses them any more.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn stop(&self) -> Result<(), DatapathError> {
        self.remember(None);
        for (map, name) in [(&self.exchanges, maps::EXCHANGES), (&self.responses, maps::RESPONSES)]
        {
            map.delete(&ONLY).map_err(DatapathError::map(name, "empty it"))?;
        }
        unpin(&self.dir.join(maps::EXCHANGES_WAYS))?;
        unpin(&self.dir.join(maps::RESPONSES_SLOTS))
    }

    /// The array of responses, while there is one.
    pub(super) fn slots(&self) -> Option<Arc<Map>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, slots: Option<Map>) {
        let mut held = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        *held = slots.map(Arc::new);
    }

    fn is_filled(&self) -> Result<bool, DatapathError> {
        // The value is the array's id.
        let failed = DatapathError::map(maps::EXCHANGES, "read it");
        self.exchanges.lookup(&ONLY, &mut [0; 4]).map_err(failed)
    }

    /// Pins an array in place of one that a killed controller left behind.
    fn pin(&self, map: &Map, name: &'static str) -> Result<(), DatapathError> {
        unpin(&self.dir.join(name))?;
        map.pin(&self.dir.join(name)).map_err(DatapathError::map(name, "pin it"))
    }
}

/// Makes and pins the empty arrays of maps, before the object that declares them is loaded.
///
/// Kernel 6.1 requires that an array has the same BTF as the one that the array of maps was made with. Arrays made here have
/// none; one made by the loader would have some.
///
/// # Errors
/// As the kernel.
pub(super) fn make(dir: &Path) -> Result<(), DatapathError> {
    for (name, kind) in
        [(maps::EXCHANGES, exchanges_array(1)?), (maps::RESPONSES, responses_array()?)]
    {
        Map::create_map_of(name, &kind)
            .and_then(|map| map.pin(&dir.join(name)))
            .map_err(DatapathError::map(name, "make it"))?;
    }
    Ok(())
}

fn exchanges_array(ways: u32) -> Result<Map, DatapathError> {
    Map::create_array(maps::EXCHANGES_WAYS, size_of::<Exchange>() as u32, ways, BPF_F_INNER_MAP)
        .map_err(DatapathError::map(maps::EXCHANGES_WAYS, "make it"))
}

fn responses_array() -> Result<Map, DatapathError> {
    Map::create_counters(maps::RESPONSES_SLOTS, size_of::<ResponseCounts>() as u32, MAX_SLOTS)
        .map_err(DatapathError::map(maps::RESPONSES_SLOTS, "make it"))
}

/// Puts an array into an array of maps, by its descriptor.
fn put(outer: &Map, inner: &Map, name: &'static str) -> Result<(), DatapathError> {
    let descriptor = inner.as_fd().as_raw_fd().to_ne_bytes();
    outer.update(&ONLY, &descriptor).map_err(DatapathError::map(name, "fill it"))
}

/// The measured exchanges, by way, mapped until dropped; `None` while nothing is measured.
///
/// # Errors
/// As the kernel.
pub(super) fn exchanges(dir: &Path) -> Result<Option<Mapped<Exchange>>, DatapathError> {
    if !dir.join(maps::EXCHANGES_WAYS).exists() {
        return Ok(None);
    }
    mapped(dir, maps::EXCHANGES_WAYS).map(Some)
}
