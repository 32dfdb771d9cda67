//! Removes affinity records: periodically those that have run out, and those of a slot before it is given away.
//!
//! The walk over them takes up to seconds, so it runs on a thread of its own.

use std::{
    collections::BTreeSet,
    io,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use crate::daemon::clock;
use crate::{
    datapath::{AffinityRecords, DatapathError},
    model::State,
    reconcile::affinity_ticks,
};

/// How often records that have run out are removed.
const PERIOD: Duration = Duration::from_secs(30);

/// A walk over the records; it returns how many it removed.
type Walk = JoinHandle<Result<usize, DatapathError>>;

/// Removes affinity records.
#[derive(Debug)]
pub(super) struct Cleaner {
    records: AffinityRecords,
    /// When the last walk began.
    began: Instant,
    /// The walk that is under way, and the slots whose affinity records it removes.
    walk: Option<(Walk, BTreeSet<u32>)>,
    /// Retired slots that no record names any more.
    cleared: BTreeSet<u32>,
}

impl Cleaner {
    pub(super) fn new(records: AffinityRecords) -> Self {
        Self { records, began: clock::now(), walk: None, cleared: BTreeSet::new() }
    }

    /// Handles the end of a walk, and begins the next if it is time or `slots` wait to be cleared. These are retired slots that
    /// get no new connections any more.
    ///
    /// # Errors
    /// When the last walk failed, or the next cannot begin; it is tried again.
    pub(super) fn advance(&mut self, state: &State, slots: BTreeSet<u32>) -> io::Result<()> {
        self.cleared.retain(|slot| slots.contains(slot));
        if self.walk.as_ref().is_some_and(|(walk, _)| !walk.is_finished()) {
            return Ok(());
        }
        if let Some((walk, of)) = self.walk.take() {
            let ended = walk.join().map_err(|_| io::Error::other("cleaning was interrupted"))?;
            let removed = ended.map_err(io::Error::other)?;
            tracing::debug!("{removed} affinity records removed");
            self.cleared.extend(of.intersection(&slots));
        }
        let is_due = clock::now() - self.began >= PERIOD;
        if is_due || !slots.is_subset(&self.cleared) {
            let oldest = oldest(state);
            let (records, of) = (self.records.clone(), slots.clone());
            let walk = Builder::new().name("affinity".to_owned());
            let walk = walk.spawn(move || records.clean(oldest, &of))?;
            (self.walk, self.began) = (Some((walk, slots)), clock::now());
        }
        Ok(())
    }

    /// Whether no record names a slot, as of the last call of [`Cleaner::advance`].
    pub(super) fn is_cleared(&self, slot: u32) -> bool {
        self.cleared.contains(&slot)
    }
}

/// Ticks after which a record is void for every service.
fn oldest(state: &State) -> u32 {
    let ticks = state.services.iter().map(|service| affinity_ticks(&service.config.affinity));
    ticks.max().unwrap_or_default().into()
}
