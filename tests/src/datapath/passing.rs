//! Lets time pass: all entries get older at once, and those idle for too long are swept as by the controller.

use anyhow::Result;
use dispatcher_common::{
    connection::{Bucket, Way},
    counts::TableCounts,
    maps,
    service::ServiceState,
    settings::Settings,
};

use super::{
    Datapath,
    filling::USED_SERVICES,
    mapped::{aged, now},
};

/// More ticks than any sequence lets pass without a packet: about an hour.
const PAST: u64 = 1000;

impl Datapath {
    /// Lets this many ticks pass, and removes the connections whose idle time exceeds that of their class. Returns false, and
    /// changes nothing, if the machine has just started and does not have that much past.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn pass(&mut self, ticks: u64) -> Result<bool> {
        if now() < PAST {
            return Ok(false);
        }
        self.age_records(ticks)?;
        self.age_placements(ticks)?;
        self.age_ways(ticks)?;
        self.counts_set()?;
        Ok(true)
    }

    fn age_placements(&mut self, ticks: u64) -> Result<()> {
        let mut states = self.array_mut::<ServiceState>(maps::SERVICE_STATE)?;
        for service in 0..USED_SERVICES {
            let state = states.get(&service, 0)?;
            if state.hashed_at != 0 {
                let hashed_at = state.hashed_at.saturating_sub(ticks);
                states.set(service, ServiceState { hashed_at, ..state }, 0)?;
            }
        }
        Ok(())
    }

    fn age_ways(&mut self, ticks: u64) -> Result<()> {
        let expiry = self.array::<Settings>(maps::SETTINGS)?.get(&0, 0)?.expiry_ticks;
        let now = now();
        let used: Vec<u32> = self.ways()?.into_iter().map(|(place, _)| place.bucket).collect();
        let mut table = self.array_mut::<Bucket>(maps::CONNECTIONS)?;
        let mut last = None;
        for bucket in used {
            if last.replace(bucket) == Some(bucket) {
                continue;
            }
            let mut ways = table.get(&bucket, 0)?;
            for word in ways.ways.iter_mut().filter(|word| **word != 0) {
                let way = Way(*word);
                let idle = way.age(now) + ticks;
                let is_over = idle >= expiry[way.expiry_class()];
                *word = if is_over { 0 } else { aged(way, idle).0 };
            }
            table.set(bucket, ways, 0)?;
        }
        Ok(())
    }

    /// Sets the counts to those of the table.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn counts_set(&mut self) -> Result<()> {
        let counts = self.recount()?;
        let half_open = counts.iter().map(|count| count.half_open()).sum();
        for (slot, count) in (0..).zip(counts) {
            self.set_active_count(slot, count)?;
        }
        let table = TableCounts { half_open, ..TableCounts::ZERO };
        Ok(self.array_mut(maps::TABLE_COUNTS)?.set(0, table, 0)?)
    }
}
