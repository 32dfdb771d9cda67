//! The current number of connections: counts that the datapath and the sweeper change by atomic adds ([`ActiveCount`]).

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use dispatcher_common::{
    connection::Way,
    counts::{ActiveCount, TableCounts},
    maps,
};

use crate::datapath::{
    error::DatapathError,
    mapped::{Mapped, mapped, word_of},
};

/// The mapped counts.
#[derive(Debug)]
pub struct ActiveCounts {
    slots: Mapped<u64>,
    table: Mapped<TableCounts>,
}

impl ActiveCounts {
    /// Maps the counts of a directory of pins.
    pub(super) fn open(dir: &Path) -> Result<Self, DatapathError> {
        Ok(Self {
            slots: mapped(dir, maps::ACTIVE_COUNTS)?,
            table: mapped(dir, maps::TABLE_COUNTS)?,
        })
    }

    /// Connections of a slot.
    #[must_use]
    pub fn slot(&self, slot: u32) -> ActiveCount {
        ActiveCount(self.slots.load(slot as usize, 0))
    }

    /// Half-open connections of all slots.
    #[must_use]
    pub fn half_open(&self) -> u64 {
        self.half_open_word().load(Ordering::Relaxed)
    }

    /// Subtracts a connection that was just removed.
    pub(super) fn lower(&self, way: Way) {
        let amount = ActiveCount::of(way);
        if amount == 0 {
            return;
        }
        self.add(way.slot() as usize, amount.wrapping_neg());
        let half_open = ActiveCount(amount).half_open();
        if half_open != 0 {
            self.add_half_open(half_open.wrapping_neg());
        }
    }

    /// Adds to a slot's word, modulo 2⁶⁴: negative amounts subtract.
    pub(super) fn add(&self, slot: usize, amount: u64) {
        if let Some(count) = self.slots.words().get(slot) {
            count.fetch_add(amount, Ordering::AcqRel);
        }
    }

    /// Adds to the half-open connections of all slots.
    pub(super) fn add_half_open(&self, amount: u64) {
        self.half_open_word().fetch_add(amount, Ordering::AcqRel);
    }

    fn half_open_word(&self) -> &AtomicU64 {
        &self.table.words()[word_of!(TableCounts, half_open)]
    }
}
