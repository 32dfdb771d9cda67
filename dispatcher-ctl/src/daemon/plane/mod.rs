//! The datapath as the daemon holds it: its handle, the connection table and counters, with their sweeper and cleaner.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dispatcher_common::counts::BackendCounts;

use self::{affinity::Cleaner, counts::Counts, rules::Rules, timeouts::timeouts};
use super::{clock, store::Store};
use crate::{
    api::types::{self, ApiError},
    datapath::{
        CounterReader, Counters, Datapath,
        connections::{ConnectionTable, SweepResult, Sweeper},
    },
    model::{RetiredSlot, SavedState, State},
    reconcile::Change,
    schedule::Schedules,
};

mod affinity;
mod counts;
mod publish;
mod rules;
mod timeouts;

pub(in crate::daemon) use counts::sum;

/// Counters that are not older than this are not read again.
const RECENT: Duration = Duration::from_millis(100);

/// The datapath, and the daemon's data about it.
#[derive(Debug)]
pub(in crate::daemon) struct Plane {
    datapath: Datapath,
    table: Arc<ConnectionTable>,
    counters: CounterReader,
    /// Counters as last read by a loop, and when.
    recent: Option<(Instant, Arc<Counters>)>,
    sweeper: Sweeper,
    cleaner: Cleaner,
    /// Counters of removed backends, and rates for answers.
    counts: Counts,
    /// Which rules hold.
    rules: Rules,
    /// Schedules of everything that was last published.
    schedules: Schedules,
}

impl Plane {
    /// Maps the table and starts to sweep it.
    pub(in crate::daemon) fn new(datapath: Datapath, saved: &SavedState) -> Result<Self, ApiError> {
        let table = datapath.table()?;
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts(saved))?;
        let counters = datapath.counters();
        let cleaner = Cleaner::new(datapath.affinity_records());
        // Slots that an earlier controller retired: only a sweep that begins later can show that they are free.
        let mut counts = Counts::default();
        saved.retired_slots.iter().for_each(|r| counts.retire(r.slot, clock::now()));
        Ok(Self {
            datapath,
            table,
            counters,
            recent: None,
            sweeper,
            cleaner,
            counts,
            rules: Rules::default(),
            schedules: Schedules::default(),
        })
    }

    /// The datapath.
    pub(in crate::daemon) const fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// The datapath, to be changed.
    pub(in crate::daemon) const fn datapath_mut(&mut self) -> &mut Datapath {
        &mut self.datapath
    }

    /// The connection table.
    pub(in crate::daemon) const fn table(&self) -> &Arc<ConnectionTable> {
        &self.table
    }

    /// The counters' reader.
    pub(in crate::daemon) const fn counters(&self) -> &CounterReader {
        &self.counters
    }

    /// The result of the last sweep of the table.
    pub(in crate::daemon) fn swept(&self) -> Arc<SweepResult> {
        self.sweeper.latest()
    }

    /// Counts the table now.
    pub(in crate::daemon) fn count_now(&self) -> Arc<SweepResult> {
        self.sweeper.count_now()
    }

    /// Whether a rule of a service is on in the datapath.
    pub(in crate::daemon) fn is_active(&self, service: u32, rule: u32) -> bool {
        rules::is_active(self.datapath.contents(), service, rule)
    }

    /// The counters of a service's former backends.
    pub(in crate::daemon) fn former(&self, service: u32) -> BackendCounts {
        self.counts.former(service)
    }

    /// A slot's recent rates per second.
    pub(in crate::daemon) fn rates(
        &self,
        slot: u32,
        counts: &BackendCounts,
        now: Instant,
    ) -> types::Rates {
        self.counts.rates(slot, counts, now)
    }

    /// Records which slots a change retires, and which service ids it reuses.
    pub(in crate::daemon) fn follow(&mut self, change: &Change, gone: &[RetiredSlot]) {
        for (_, new) in change.pairs().filter(|(was, _)| was.is_none()) {
            // Drop the counters of its id's former backends. (The datapath's own counters begin at 0 when it is published.)
            new.iter().for_each(|new| self.counts.forget(new.id));
        }
        gone.iter().for_each(|retired| self.counts.retire(retired.slot, clock::now()));
    }

    /// Turns rules on and off by the rates of the last second.
    pub(in crate::daemon) fn watch_rules(&mut self, saved: &SavedState) -> Result<(), ApiError> {
        let go_by_rates = rules::go_by_rates(&saved.state);
        let counted =
            if go_by_rates { Some(self.recent_counters(&saved.retired_slots)?) } else { None };
        self.rules.update(counted.as_ref().map(|(at, counters)| (*at, &**counters)));
        let active = self.active_rules(&saved.state);
        rules::log_changes(&saved.state, self.datapath.contents(), &active);
        self.datapath.set_active(&active)?;
        Ok(())
    }

    /// Which rules hold now.
    fn active_rules(&self, state: &State) -> BTreeMap<u32, bool> {
        self.rules.active(state, &self.table, self.datapath.contents(), clock::local())
    }

    /// Frees the slots of removed backends that no connection and no affinity record points to any more.
    pub(in crate::daemon) fn release_slots(&mut self, store: &mut Store) -> Result<(), ApiError> {
        let sweep = self.sweeper.latest();
        let unused = |r: &RetiredSlot| {
            self.counts.retired_before(r.slot, sweep.started) && sweep.slot(r.slot).total() == 0
        };
        let retired = &store.retired_slots;
        let waiting = retired.iter().filter(|r| unused(r)).map(|r| r.slot).collect();
        self.cleaner.advance(&store.state, waiting)?;
        let (released, kept): (Vec<_>, Vec<_>) =
            retired.iter().copied().partition(|r| self.cleaner.is_cleared(r.slot));
        if released.is_empty() {
            return Ok(());
        }
        let counters = self.counters.read(retired)?;
        store.commit(|saved| saved.retired_slots = kept)?;
        // The slot's counters keep their values until a backend is published there; nothing reads them before.
        for retired in released {
            self.counts.fold(retired, counters.backend(retired.slot));
        }
        Ok(())
    }

    /// Samples the counters for rates, if a sample is due.
    pub(in crate::daemon) fn sample_rates(
        &mut self,
        retired: &[RetiredSlot],
    ) -> Result<(), ApiError> {
        if self.counts.is_due(clock::now()) {
            let (at, counters) = self.recent_counters(retired)?;
            self.counts.sample(at, counters.backends.clone());
        }
        Ok(())
    }

    /// Recent counters, including those of retired slots, and when they were read: loops that need them at the same time read
    /// them once.
    pub(in crate::daemon) fn recent_counters(
        &mut self,
        retired: &[RetiredSlot],
    ) -> Result<(Instant, Arc<Counters>), ApiError> {
        let now = clock::now();
        if let Some((at, counters)) = &self.recent
            && now.saturating_duration_since(*at) < RECENT
        {
            return Ok((*at, Arc::clone(counters)));
        }
        let counters = Arc::new(self.counters.read(retired)?);
        self.recent = Some((now, Arc::clone(&counters)));
        Ok((now, counters))
    }
}
