//! Which rules hold: looked at once a second, and whenever something changes.
//!
//! Rates are those of the last second, from counters that are read only while a rule goes by them. Before there is a
//! second to look back on, a rule that goes by rates stays as the datapath has it: off if it is new, as it was after a
//! takeover.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{clock, core::Core};
use crate::{
    api::types::ApiError,
    dataplane::Counters,
    model::{Rule, State},
    reconcile::{self, LocalTime, Measured, Rate},
};

/// Less is no second: rates over a moment say nothing.
const SHORTEST: Duration = Duration::from_millis(500);

/// What backends had counted.
#[derive(Debug)]
struct Sample {
    at: Instant,
    /// Connections and delivered bytes, by slot.
    counted: BTreeMap<u32, (u64, u64)>,
}

/// What is known of rates.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// What was last read.
    sample: Option<Sample>,
    /// By slot, over the last second.
    rates: Option<BTreeMap<u32, Rate>>,
}

impl Rates {
    /// Takes in what the datapath has counted.
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
                // A slot that is not among them, or had counted more, has begun at 0 since.
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

impl Core {
    /// Rules by what the last second was like.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn watch_rules(&mut self) -> Result<(), ApiError> {
        if rules(self.state()).any(|(_, rule)| rule.config.has_rates()) {
            let (at, counters) = self.recent_counters()?;
            self.rates.sample(at, &counters);
        } else {
            self.rates = Rates::default();
        }
        let active = self.active_rules(clock::local());
        self.log_rules(&active);
        self.datapath.set_active(&active)?;
        Ok(())
    }

    /// Which rules hold now; those of which that cannot be told stay as the datapath has them.
    pub(super) fn active_rules(&self, now: LocalTime) -> BTreeMap<u32, bool> {
        let count = |slot| self.table.active().slot(slot).active();
        let measured = Measured { rates: self.rates.rates.as_ref(), active: &count };
        let mut active = reconcile::active(self.state(), now, measured);
        for (service, rule) in rules(self.state()) {
            active.entry(rule.id).or_insert_with(|| self.is_active(service, rule.id));
        }
        active
    }

    /// Whether the datapath has the rule of a service on.
    pub(super) fn is_active(&self, service: u32, rule: u32) -> bool {
        let held = self.datapath.contents().rules.get(rule as usize);
        held.is_some_and(|held| held.owner == u64::from(service) + 1 && held.active != 0)
    }

    fn log_rules(&self, active: &BTreeMap<u32, bool>) {
        for service in &self.state().services {
            for rule in &service.rules {
                let (was, is) = (self.is_active(service.id, rule.id), active.get(&rule.id));
                let (service, rule) = (&service.config.name, &rule.config.name);
                match is {
                    Some(true) if !was => tracing::info!("rule {service}/{rule}: holds"),
                    Some(false) if was => tracing::info!("rule {service}/{rule}: no longer holds"),
                    Some(_) | None => {}
                }
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
        let mut rates = Rates::default();
        let rate = |rates: &Rates, slot| rates.rates.as_ref().map(|r| r[&slot].connections);
        rates.sample(at(0), &counted(&[(1, 1000)]));
        assert_eq!(rates.rates, None);
        rates.sample(at(100), &counted(&[(1, 1100)]));
        assert_eq!(rates.rates, None, "a tenth of a second is too short");
        rates.sample(at(2000), &counted(&[(1, 1300), (2, 40)]));
        assert_eq!((rate(&rates, 1), rate(&rates, 2)), (Some(150.0), Some(20.0)));
        rates.sample(at(3000), &counted(&[(1, 7), (2, 40)]));
        assert_eq!((rate(&rates, 1), rate(&rates, 2)), (Some(7.0), Some(0.0)));
    }
}
