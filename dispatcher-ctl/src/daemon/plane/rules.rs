//! Which rules hold: checked once a second, and whenever something changes.
//!
//! Rates are those of the last second, from counters that are read only while a rule depends on them. Until a second has
//! passed, a rule that depends on rates stays as it is in the datapath: off if it is new, unchanged after a takeover.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    datapath::{Counters, connections::ConnectionTable, publish::Contents},
    model::{Rule, State},
    reconcile::{self, LocalTime, Measured, Rate},
};

/// Shortest time between two samples: rates over less are not meaningful.
const SHORTEST: Duration = Duration::from_millis(500);

/// The backends' counters at one time.
#[derive(Debug)]
struct Sample {
    at: Instant,
    /// Connections and delivered bytes, by slot.
    counted: BTreeMap<u32, (u64, u64)>,
}

/// The rates that rules depend on.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The last sample.
    sample: Option<Sample>,
    /// By slot, over the last second.
    rates: Option<BTreeMap<u32, Rate>>,
}

impl Rules {
    /// Updates the rates; none: no rule depends on them.
    pub(super) fn update(&mut self, counted: Option<(Instant, &Counters)>) {
        match counted {
            Some((at, counters)) => self.sample(at, counters),
            None => *self = Self::default(),
        }
    }

    /// Which rules hold; a rule for which this is not known stays as it is in the datapath.
    pub(super) fn active(
        &self,
        state: &State,
        table: &ConnectionTable,
        held: &Contents,
        now: LocalTime,
    ) -> BTreeMap<u32, bool> {
        let count = |slot| table.active().slot(slot).active();
        let measured = Measured { rates: self.rates.as_ref(), active: &count };
        let mut active = reconcile::active(state, now, measured);
        for (service, rule) in rules(state) {
            active.entry(rule.id).or_insert_with(|| is_active(held, service, rule.id));
        }
        active
    }

    /// Adds the datapath's counters.
    fn sample(&mut self, now: Instant, counters: &Counters) {
        let delivered =
            |slot: &u32| counters.responses.get(slot).map_or(0, |responses| responses.delivered);
        let counted = counters.backends.iter();
        let counted: BTreeMap<u32, (u64, u64)> =
            counted.map(|(slot, c)| (*slot, (c.connections, delivered(slot)))).collect();
        if let Some(Sample { at, counted: before }) = &self.sample {
            let elapsed = now.saturating_duration_since(*at);
            if elapsed < SHORTEST {
                return;
            }
            let seconds = elapsed.as_secs_f64();
            let rate = |(slot, (connections, delivered)): (&u32, &(u64, u64))| {
                // A slot that was missing, or whose counters fell, has begun at 0 since.
                let (c, d) = before.get(slot).copied().unwrap_or_default();
                let per_second =
                    |now: u64, before: u64| now.checked_sub(before).unwrap_or(now) as f64 / seconds;
                let connections = per_second(*connections, c);
                (*slot, Rate { connections, delivered: per_second(*delivered, d) })
            };
            self.rates = Some(counted.iter().map(rate).collect());
        }
        self.sample = Some(Sample { at: now, counted });
    }
}

/// Whether any rule depends on rates.
pub(super) fn go_by_rates(state: &State) -> bool {
    rules(state).any(|(_, rule)| rule.config.has_rates())
}

/// Whether a rule of a service is on in the datapath.
pub(super) fn is_active(held: &Contents, service: u32, rule: u32) -> bool {
    let held = held.rules.get(rule as usize);
    held.is_some_and(|held| held.owner == u64::from(service) + 1 && held.active != 0)
}

/// Logs which rules start or stop to hold.
pub(super) fn log_changes(state: &State, held: &Contents, active: &BTreeMap<u32, bool>) {
    for service in &state.services {
        for rule in &service.rules {
            let (was, is) = (is_active(held, service.id, rule.id), active.get(&rule.id));
            let (service, rule) = (&service.config.name, &rule.config.name);
            match is {
                Some(true) if !was => tracing::info!("rule {service}/{rule}: holds"),
                Some(false) if was => tracing::info!("rule {service}/{rule}: no longer holds"),
                Some(_) | None => {}
            }
        }
    }
}

/// All rules, each with its service's id.
fn rules(state: &State) -> impl Iterator<Item = (u32, &Rule)> {
    state.services.iter().flat_map(|service| service.rules.iter().map(|rule| (service.id, rule)))
}

#[cfg(test)]
mod tests {
    use dispatcher_common::counts::BackendCounts;

    use super::*;
    use crate::daemon::clock;

    fn counted(slots: &[(u32, u64)]) -> Counters {
        let count = |(slot, connections): &(u32, u64)| {
            (*slot, BackendCounts { connections: *connections, ..BackendCounts::ZERO })
        };
        Counters { backends: slots.iter().map(count).collect(), ..Counters::default() }
    }

    #[test]
    fn a_rate_is_known_after_a_second_and_survives_slots_that_change_hands() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rules = Rules::default();
        let rate = |rules: &Rules, slot| rules.rates.as_ref().map(|r| r[&slot].connections);
        rules.sample(at(0), &counted(&[(1, 1000)]));
        assert_eq!(rules.rates, None);
        rules.sample(at(100), &counted(&[(1, 1100)]));
        assert_eq!(rules.rates, None, "a tenth of a second is too short");
        rules.sample(at(2000), &counted(&[(1, 1300), (2, 40)]));
        assert_eq!((rate(&rules, 1), rate(&rules, 2)), (Some(150.0), Some(20.0)));
        rules.sample(at(3000), &counted(&[(1, 7), (2, 40)]));
        assert_eq!((rate(&rules, 1), rate(&rules, 2)), (Some(7.0), Some(0.0)));
    }
}
