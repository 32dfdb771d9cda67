//! Samples connections between two readings of the counters.
//!
//! The number of active connections fluctuates, so it is sampled several times per interval and averaged. So is the
//! weight by which active and new connections are divided: it must be the weight under which they arrived.

use std::collections::{BTreeMap, BTreeSet};

/// What was seen of a backend since the last reading of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Active connections, average.
    pub active: f64,
    /// Connections placed on it.
    pub new: f64,
    /// Its weight, average.
    pub weight: f64,
}

impl Sampled {
    /// Whether a service has enough active and new connections to compare its backends by them. With few connections,
    /// chance decides which backend has them, and weights would be random, too.
    #[must_use]
    pub fn are_enough(all: impl Iterator<Item = Self>) -> [bool; 2] {
        /// On average at least one connection must exist at any time, over all backends together.
        const ACTIVE: f64 = 1.0;
        /// New connections per backend: one more or less is then at most a fifth.
        const NEW: f64 = 5.0;
        let (active, new, count) = all.fold((0.0, 0.0, 0.0), |(active, new, count), seen| {
            (active + seen.active, new + seen.new, count + 1.0)
        });
        [active >= ACTIVE, new >= NEW * count]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    active: u64,
    weight: u64,
    samples: u32,
}

/// Samples connections, by slot.
#[derive(Debug, Default)]
pub struct Sampler {
    sums: BTreeMap<u32, Sum>,
    /// Slots that accepted no connections for part of the interval: their numbers say nothing.
    skipped: BTreeSet<u32>,
    /// Connections ever placed on a slot, at the last reading of counters.
    before: BTreeMap<u32, u64>,
}

impl Sampler {
    /// Adds a sample of a backend.
    pub fn sample(&mut self, slot: u32, active: u64, weight: u32) {
        let sum = self.sums.entry(slot).or_default();
        sum.active += active;
        sum.weight += u64::from(weight);
        sum.samples += 1;
    }

    /// Marks that a backend accepts no connections now.
    pub fn skip(&mut self, slot: u32) {
        self.skipped.insert(slot);
    }

    /// Returns what was seen since the last reading, given the connections ever placed on each slot. Omits slots that
    /// are new, or that did not accept connections all the time.
    pub fn reread(&mut self, connections: BTreeMap<u32, u64>) -> BTreeMap<u32, Sampled> {
        let sums = std::mem::take(&mut self.sums);
        let skipped = std::mem::take(&mut self.skipped);
        let seen = |(slot, sum): (&u32, &Sum)| {
            let (before, now) = (self.before.get(slot)?, connections.get(slot)?);
            let mean = |sum: u64, samples: u32| sum as f64 / f64::from(samples.max(1));
            let seen = Sampled {
                active: mean(sum.active, sum.samples),
                // A slot that now belongs to another backend restarts at 0.
                new: now.checked_sub(*before)? as f64,
                weight: mean(sum.weight, sum.samples),
            };
            Some((*slot, seen))
        };
        let whole = sums.iter().filter(|(slot, _)| !skipped.contains(slot));
        let all = whole.filter_map(seen).collect();
        self.before = connections;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_connections_tell_nothing() {
        let seen = |active, new| Sampled { active, new, weight: 10.0 };
        let telling = |all: [Sampled; 2]| Sampled::are_enough(all.into_iter());
        assert_eq!(telling([seen(0.1, 14.0), seen(0.8, 0.0)]), [false, true]);
        assert_eq!(telling([seen(0.0, 4.0), seen(1.0, 5.0)]), [true, false]);
    }

    #[test]
    fn connections_are_averaged_and_counted_between_two_readings() {
        let mut sampler = Sampler::default();
        sampler.sample(1, 100, 10);
        assert!(sampler.reread([(1, 1000), (2, 7)].into()).is_empty(), "nothing to compare with");
        sampler.sample(1, 4, 10);
        sampler.sample(1, 8, 20);
        sampler.sample(2, 1, 5);
        sampler.sample(3, 1, 5);
        let seen = sampler.reread([(1, 1030), (2, 3), (3, 9)].into());
        assert_eq!(seen[&1], Sampled { active: 6.0, new: 30.0, weight: 15.0 });
        assert_eq!((seen.get(&2), seen.get(&3)), (None, None), "one began anew, one is new");
        sampler.skip(1);
        sampler.sample(1, 4, 10);
        assert!(sampler.reread([(1, 1040)].into()).is_empty(), "not all the time");
        sampler.sample(1, 4, 10);
        assert_eq!(sampler.reread([(1, 1041)].into())[&1].new, 1.0);
    }
}
