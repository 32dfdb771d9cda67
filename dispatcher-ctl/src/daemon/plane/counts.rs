//! Counters over time: rates, and the counters of removed backends.
//!
//! The datapath counts by slot. When a removed backend's slot is freed, its counters are kept here for its service, so that
//! a service's totals never fall.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use dispatcher_common::counts::BackendCounts;

use crate::{api::types::Rates, model::RetiredSlot};

/// Shortest time over which rates are averaged.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Counters of removed backends, and samples for rates.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By service id: the counters of its former backends.
    former: HashMap<u32, BackendCounts>,
    /// When a slot was retired.
    retired: HashMap<u32, Instant>,
    older: Option<Sample>,
    newer: Option<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    backends: BTreeMap<u32, BackendCounts>,
}

impl Counts {
    /// Remembers when a slot was retired: only a sweep that began later can say that no connection points to it.
    pub(super) fn retire(&mut self, slot: u32, now: Instant) {
        self.retired.entry(slot).or_insert(now);
    }

    /// Whether a sweep that began at `start` began after the slot was retired.
    pub(super) fn retired_before(&self, slot: u32, start: Instant) -> bool {
        self.retired.get(&slot).is_none_or(|at| *at < start)
    }

    /// Adds a slot's counters to those of its service's former backends, before another backend gets the slot.
    pub(super) fn fold(&mut self, retired: RetiredSlot, counted: BackendCounts) {
        let former = self.former.entry(retired.service).or_insert(BackendCounts::ZERO);
        *former = sum(*former, counted);
        self.retired.remove(&retired.slot);
        for sample in [&mut self.older, &mut self.newer].into_iter().flatten() {
            sample.backends.remove(&retired.slot);
        }
    }

    /// Forgets a service whose id another service gets.
    pub(super) fn forget(&mut self, service: u32) {
        self.former.remove(&service);
    }

    /// The counters of a service's former backends.
    pub(super) fn former(&self, service: u32) -> BackendCounts {
        self.former.get(&service).copied().unwrap_or(BackendCounts::ZERO)
    }

    /// Whether the last sample is old enough for the next.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.newer.as_ref().is_none_or(|sample| now - sample.at >= RATE_WINDOW)
    }

    /// Takes a sample for rates: counters by slot.
    pub(super) fn sample(&mut self, now: Instant, backends: BTreeMap<u32, BackendCounts>) {
        self.older = self.newer.take();
        self.newer = Some(Sample { at: now, backends });
    }

    /// A slot's rates per second, between the sample before last and now.
    pub(super) fn rates(&self, slot: u32, counts: &BackendCounts, now: Instant) -> Rates {
        let Some(sample) = self.older.as_ref().or(self.newer.as_ref()) else {
            return Rates::default();
        };
        let before = sample.backends.get(&slot).copied().unwrap_or(BackendCounts::ZERO);
        let seconds = (now - sample.at).as_secs_f64();
        let per_second = |now: u64, before: u64| {
            if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        Rates {
            connections: per_second(counts.connections, before.connections),
            packets: per_second(counts.packets, before.packets),
            bytes: per_second(counts.bytes, before.bytes),
        }
    }
}

/// The sum of two backends' counters.
pub(in crate::daemon) fn sum(a: BackendCounts, b: BackendCounts) -> BackendCounts {
    BackendCounts {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
        connections: a.connections + b.connections,
        retransmissions: a.retransmissions + b.retransmissions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(packets: u64) -> BackendCounts {
        BackendCounts { packets, ..BackendCounts::ZERO }
    }

    #[test]
    fn a_rate_is_the_difference_over_the_time_between() {
        let start = crate::daemon::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut counts = Counts::default();
        assert_eq!(counts.rates(1, &counted(5), at(0)), Rates::default());
        counts.sample(at(0), BTreeMap::from([(1, counted(100))]));
        assert!(!counts.is_due(at(1)) && counts.is_due(at(2)));
        assert_eq!(counts.rates(1, &counted(150), at(1)).packets, 50.0);
        counts.sample(at(2), BTreeMap::from([(1, counted(200))]));
        counts.sample(at(4), BTreeMap::from([(1, counted(400))]));
        assert_eq!(counts.rates(1, &counted(500), at(5)).packets, 100.0);
        assert_eq!(counts.rates(2, &counted(30), at(5)).packets, 10.0);
    }

    #[test]
    fn a_service_keeps_what_removed_backends_counted() {
        let mut counts = Counts::default();
        counts.fold(RetiredSlot::new(1, 7), counted(10));
        counts.fold(RetiredSlot::new(2, 7), counted(5));
        assert_eq!(counts.former(7).packets, 15);
        counts.forget(7);
        assert_eq!(counts.former(7).packets, 0);
    }
}
