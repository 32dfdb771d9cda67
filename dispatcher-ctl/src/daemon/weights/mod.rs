//! Weights of backends: the manager weighs them by what it samples, and recovered backends ramp up.
//!
//! [`Weights`] owns what is remembered from one turn to the next; there are a few turns per second. [`crate::manager`] computes
//! weights. A weight takes effect like every other change of the state.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{clock, health::Health, links::NextHops, reports::Events};
use crate::{
    advisor::probe::Load,
    api::types::{
        ChangedBy, Components, EventKind, ManagedBackend, ManagedService, ManagerReport,
        ManagerSettings, WeightNumbers,
    },
    datapath::{Counters, connections::ConnectionTable},
    manager::{self, Input, Sampled, Sampler, WeightResult},
    model::{Backend, Manager, Service, State},
    reconcile,
    standstill::{Mark, running},
};

/// How often connections are sampled: often, because their number jumps.
pub(super) const SAMPLE: Duration = Duration::from_millis(50);
/// With thousands of backends less often, so that it costs a percent of a CPU at most.
const SAMPLE_PER_BACKEND: Duration = Duration::from_micros(15);
/// How often recovered backends get more weight: not so often that their weights are all that changes.
const RAMP_UP: Duration = Duration::from_secs(2);

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Weights {
    sampler: Sampler,
    /// What was seen when counters were last read, by slot.
    seen: BTreeMap<u32, Sampled>,
    /// By service id.
    services: HashMap<u32, manager::Weights>,
    /// The result of the last interval, by slot.
    weighed: HashMap<u32, WeightResult>,
    /// When connections are sampled next.
    next_sample: Option<Instant>,
    /// When the interval ends.
    due: Option<Instant>,
    /// Intervals until counters are read again.
    until_reread: u32,
    /// When backends last ramped up.
    ramped: Option<Instant>,
    /// Standstills up to this mark have been made up for to backends that ramp up.
    marked: Option<Mark>,
}

impl Weights {
    /// Samples the connections of all backends, if a sample is due. Idle backends are left out. Without a manager, forgets everything.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        state: &State,
        health: &Health,
        table: &ConnectionTable,
    ) {
        if !state.manager.enabled {
            if self.due.is_some() {
                *self = Self::default();
            }
            return;
        }
        if self.next_sample.is_some_and(|next| now < next) {
            return;
        }
        let mut backends = 0;
        let active = table.active();
        for backend in state.backends() {
            backends += 1;
            if health.is_idle(backend.slot) {
                self.sampler.skip(backend.slot);
                continue;
            }
            let connections = active.slot(backend.slot).active();
            self.sampler.sample(backend.slot, connections, backend.weight());
        }
        self.next_sample = Some(now + SAMPLE / 2 + SAMPLE_PER_BACKEND * backends);
    }

    /// Whether an interval has ended; begins the next.
    pub(super) fn is_interval_over(&mut self, now: Instant, manager: &Manager) -> bool {
        let is_over = manager.enabled && self.due.is_none_or(|due| now >= due);
        if is_over {
            self.due = Some(now + manager.interval);
        }
        is_over
    }

    /// Whether connections are to be counted again at the end of this interval: at every `refresh`th.
    pub(super) fn is_reread_due(&mut self, manager: &Manager) -> bool {
        if self.until_reread > 0 {
            self.until_reread -= 1;
            return false;
        }
        self.until_reread = manager.refresh.saturating_sub(1);
        true
    }

    /// Counts connections again.
    pub(super) fn reread(&mut self, counters: &Counters) {
        let connections = counters.backends.iter().map(|(slot, c)| (*slot, c.connections));
        self.seen = self.sampler.reread(connections.collect());
    }

    /// Weighs all services and reports the weights that changed enough; returns the state with them, if there are any.
    pub(super) fn weigh(
        &mut self,
        state: &State,
        health: &Health,
        events: &Events,
    ) -> Option<State> {
        let mut all = HashMap::new();
        let mut published: HashMap<u32, u32> = HashMap::new();
        // What is left of it afterwards belongs to services and backends that are gone, and is dropped.
        let mut former = std::mem::take(&mut self.services);
        let mut services = HashMap::with_capacity(former.len());
        for service in &state.services {
            let inputs = self.inputs(service, &state.manager, health);
            let proportions = service.config.proportions.unwrap_or(state.manager.proportions);
            let mut of_service = former.remove(&service.id).unwrap_or_default();
            of_service.keep(|slot| service.backends.iter().any(|b| b.slot == slot));
            let bound = service.config.weight_bound;
            let cycle = of_service.cycle(&state.manager, proportions, bound, &inputs);
            for weighed in cycle.weighed {
                let (slot, weight) = (weighed.input.slot, weighed.weight);
                if cycle.is_published && weight != weighed.input.weight {
                    events.log_and_send(weight_event(service, &weighed, self.seen.get(&slot)));
                    published.insert(slot, weight);
                }
                all.insert(slot, weighed);
            }
            services.insert(service.id, of_service);
        }
        (self.services, self.weighed) = (services, all);
        if published.is_empty() {
            return None;
        }
        let mut state = state.clone();
        let is_weighed = |s: &Service| s.backends.iter().any(|b| published.contains_key(&b.slot));
        state.change(is_weighed, |service| {
            for backend in &mut service.backends {
                backend.managed = published.get(&backend.slot).copied().or(backend.managed);
            }
        });
        Some(state)
    }

    /// What is known of the backends of a service that take connections. A backend that took none for a whole time between two
    /// counts keeps its weight: its service was just taken over, or it has just recovered.
    fn inputs(&self, service: &Service, manager: &Manager, health: &Health) -> Vec<Input> {
        let seen = |b: &Backend| self.seen.get(&b.slot).copied().filter(|s| s.weight > 0.0);
        let takers = service.backends.iter().filter(|b| !health.is_idle(b.slot));
        let takers: Vec<(&Backend, Sampled)> = takers.filter_map(|b| Some((b, seen(b)?))).collect();
        let [active, new] = Sampled::are_enough(takers.iter().map(|(_, seen)| *seen));
        let input = |(backend, seen): &(&Backend, Sampled)| {
            let (advisor, system) = loads(backend.slot, manager, health);
            Input {
                slot: backend.slot,
                weight: backend.whole_weight(),
                start: backend.config.weight,
                is_fixed: backend.is_fixed(),
                loads: [
                    active.then_some(seen.active / seen.weight),
                    new.then_some(seen.new / seen.weight),
                    advisor,
                    system,
                ],
            }
        };
        takers.iter().map(input).collect()
    }

    /// Gives backends that ramp up more of their weight; yields the state with it, if that changes anything.
    pub(super) fn ramp_up(&mut self, now: Instant, state: &State) -> Option<State> {
        let is_due = self.ramped.is_none_or(|at| now.saturating_duration_since(at) >= RAMP_UP);
        // Counted from the first backend on that recovers: it keeps its first weight for a whole step.
        if !reconcile::is_coming_back(state) {
            self.marked = None;
            return None;
        }
        if !is_due {
            self.marked.get_or_insert_with(Mark::now);
            return None;
        }
        self.ramped = Some(now);
        let still = self.marked.replace(Mark::now()).map(Mark::stood_still).unwrap_or_default();
        let mut state = state.clone();
        // A standstill gave it no more weight: it continues from where it was.
        reconcile::delay(&mut state, still);
        let has_changed = reconcile::come_back(&mut state, clock::epoch_ms());
        (has_changed || !still.is_zero()).then_some(state)
    }

    /// What the manager made of what it knows.
    pub(super) fn report(&self, state: &State, health: &Health, hops: &NextHops) -> ManagerReport {
        let backend = |b: &Backend| self.managed_backend(b, &state.manager, health, hops);
        let service = |service: &Service| ManagedService {
            service: service.config.name.clone(),
            proportions: service.config.proportions.unwrap_or(state.manager.proportions),
            weight_bound: service.config.weight_bound,
            backends: service.backends.iter().map(backend).collect(),
        };
        ManagerReport {
            settings: ManagerSettings::from(&state.manager),
            services: state.services.iter().map(|s| service(s)).collect(),
        }
    }

    fn managed_backend(
        &self,
        backend: &Backend,
        manager: &Manager,
        health: &Health,
        hops: &NextHops,
    ) -> ManagedBackend {
        let weighed = self.weighed.get(&backend.slot).filter(|_| manager.enabled);
        let seen = self.seen.get(&backend.slot).filter(|_| weighed.is_some());
        let loads = || health.loads(backend.slot).map(|(load, _)| load);
        ManagedBackend {
            backend: backend.config.name.clone(),
            state: health.idle_reason(backend, hops).unwrap_or_else(|| "up".to_owned()),
            fixed_weight: backend.is_fixed(),
            active_connections: seen.map(|seen| seen.active),
            new_connections: seen.map(|seen| seen.new),
            load_seconds: loads().find_map(Load::seconds),
            system_load: loads().find_map(Load::system),
            components: weighed.map(|weighed| Components::of(weighed.components)),
            target: weighed.map(|weighed| weighed.target),
            weight: shown_weight(backend, manager),
        }
    }
}

/// The weight of a backend as it is shown: 0 while the manager is enabled and an advisor has the backend down.
pub(super) fn shown_weight(backend: &Backend, manager: &Manager) -> u32 {
    if manager.enabled && backend.advised_down.is_some() {
        return 0;
    }
    backend.weight()
}

/// Advisor load in milliseconds and system load, while they are not too old.
fn loads(slot: u32, manager: &Manager, health: &Health) -> (Option<f64>, Option<f64>) {
    let oldest = manager.report_timeout;
    // Nobody could be heard while this process stood still.
    let now = running();
    let is_fresh =
        |heard: Duration| oldest.is_none_or(|oldest| now.saturating_sub(heard) <= oldest);
    let fresh = || health.loads(slot).filter(|(_, heard)| is_fresh(*heard));
    // Whole milliseconds: below one, probes in a LAN differ by chance alone.
    let millis = fresh().find_map(|(load, _)| load.seconds()).map(|s| (s * 1e3).round().max(1.0));
    (millis, fresh().find_map(|(load, _)| load.system()))
}

/// The event of a weight that is published, with the numbers that made it.
fn weight_event(service: &Service, weighed: &WeightResult, seen: Option<&Sampled>) -> EventKind {
    let WeightResult { input, components, target, weight } = *weighed;
    let backend = service.backends.iter().find(|b| b.slot == input.slot);
    EventKind::WeightChanged {
        service: service.config.name.clone(),
        backend: backend.map(|b| b.config.name.clone()).unwrap_or_default(),
        from: input.weight,
        to: weight,
        by: ChangedBy::Manager,
        numbers: Some(WeightNumbers {
            active: seen.map(|seen| seen.active),
            new: seen.map(|seen| seen.new),
            advisor: input.loads[2].map(|millis| millis / 1e3),
            system: input.loads[3],
            components,
            target,
        }),
    }
}
