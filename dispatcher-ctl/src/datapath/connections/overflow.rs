//! The overflow map: the few connections whose buckets were both full.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use dispatcher_common::{connection::Way, settings::Settings};

use super::{
    ConnectionTable,
    sweep::{Sweep, is_expired},
    timeouts::Ages,
};
use crate::datapath::mapped::word_of;

impl ConnectionTable {
    /// Counts the connections of the overflow map into `sweep` and removes those that are too old; returns how many stay.
    ///
    /// The datapath inserts a connection before it raises the count of entries, and only this function removes entries: so a
    /// compare-and-swap with the count before the walk corrects the count.
    pub(super) fn sweep_overflow(
        &self,
        now: u64,
        ages: &Ages,
        sweep: &mut Sweep,
    ) -> io::Result<u32> {
        let entries = self.overflow_entries();
        let before = entries.load(Ordering::Acquire);
        if before == 0 {
            return Ok(0);
        }
        let mut kept = 0;
        for hash in self.overflow.keys()? {
            let mut word = [0; 8];
            if !self.overflow.lookup(&hash, &mut word)? {
                continue;
            }
            let mut way = Way(u64::from_ne_bytes(word));
            if is_expired(way, now, ages) && self.overflow.take(&hash, &mut word)? {
                let taken = Way(u64::from_ne_bytes(word));
                let is_over = taken == way || is_expired(taken, now, ages);
                // If a packet came in between, the connection stays, unless a newer entry has replaced it.
                if is_over || !self.overflow.insert(&hash, &word)? {
                    self.active.lower(taken);
                    self.expire(way, ages, sweep);
                    continue;
                }
                way = taken;
            }
            sweep.count(way, now);
            kept += 1;
        }
        // If the datapath inserted something meanwhile, the next sweep corrects the count.
        let _ =
            entries.compare_exchange(before, u64::from(kept), Ordering::AcqRel, Ordering::Relaxed);
        Ok(kept)
    }

    fn overflow_entries(&self) -> &AtomicU64 {
        &self.settings.words()[word_of!(Settings, overflow_entries)]
    }
}
