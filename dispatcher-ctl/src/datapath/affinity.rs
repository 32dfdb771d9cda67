//! Removes expired affinity records.

use std::{collections::BTreeSet, io, sync::Arc};

use dispatcher_common::{limits::AFFINITY_RECORDS, maps, service::AffinityRecord};

use super::{bpf::Map, clock::now, error::DatapathError, maps::MapSet};

/// The records; usable from any thread.
#[derive(Clone, Debug)]
pub struct AffinityRecords {
    maps: Arc<MapSet>,
}

impl AffinityRecords {
    pub(super) const fn new(maps: Arc<MapSet>) -> Self {
        Self { maps }
    }

    /// Removes records that are older than this many ticks, and those of slots that other backends will get. Returns their
    /// number.
    ///
    /// # Errors
    /// As the kernel.
    pub fn clean(&self, oldest: u32, slots: &BTreeSet<u32>) -> Result<usize, DatapathError> {
        let is_void =
            |record: AffinityRecord| record.age(now()) > oldest || slots.contains(&record.slot());
        remove(&self.maps.affinity, is_void).map_err(DatapathError::map(maps::AFFINITY, "clean it"))
    }
}

fn remove(map: &Map, is_void: impl Fn(AffinityRecord) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    let mut word = [0; 8];
    let mut key = vec![0; map.info().key_size as usize];
    let mut next = key.clone();
    let mut there = map.next_key(None, &mut key)?;
    // Nobody else removes records, so the walk never restarts. The bound is for a map that grows meanwhile.
    for _ in 0..2 * AFFINITY_RECORDS {
        if !there {
            break;
        }
        there = map.next_key(Some(&key), &mut next)?;
        let found = map.lookup(&key, &mut word)?;
        if found
            && is_void(AffinityRecord(u64::from_ne_bytes(word)))
            && map.take(&key, &mut word)?
        {
            // A new connection may have written the record in between: put it back, unless there is a newer one.
            if is_void(AffinityRecord(u64::from_ne_bytes(word))) {
                removed += 1;
            } else {
                map.insert(&key, &word)?;
            }
        }
        std::mem::swap(&mut key, &mut next);
    }
    Ok(removed)
}
