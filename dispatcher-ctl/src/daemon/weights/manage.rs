//! The manager at work: looks at connections, weighs, publishes what is worth it; brings backends back by and by.
//!
//! All of it takes its turn on the core, a few times a second. What it learns is [`crate::manager`]'s business; what a
//! weight means in the kernel is that of every other change ([`Core::commit`]).

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::daemon::{clock, core::Core, reports::Cause};
use crate::{
    advisor::probe::Load,
    api::types::{
        ApiError, ChangedBy, Components, EventKind, ManagedBackend, ManagedService, ManagerReport,
        ManagerSettings, WeightNumbers,
    },
    manager::{Input, Sampler, Seen, Weighed, Weights},
    model::{Backend, Service},
    reconcile,
    standstill::{Mark, running},
};

/// How often connections are looked at: often, for what there is at a moment jumps.
pub(in crate::daemon) const SAMPLE: Duration = Duration::from_millis(50);
/// With thousands of backends less often, so that it costs a percent of a CPU at most.
const SAMPLE_PER_BACKEND: Duration = Duration::from_micros(15);
/// How often backends that come back get more: not so often that their weights are all that changes.
const COME_BACK: Duration = Duration::from_secs(2);

/// What the manager knows.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Managing {
    sampler: Sampler,
    /// What was seen when counters were last reread, by slot.
    seen: BTreeMap<u32, Seen>,
    /// By service id.
    weights: HashMap<u32, Weights>,
    /// What the last interval came to, by slot.
    weighed: HashMap<u32, Weighed>,
    /// When connections are next looked at.
    next_sample: Option<Instant>,
    /// When the next interval ends.
    due: Option<Instant>,
    /// Intervals until counters are reread.
    until_reread: u32,
    /// When backends last came nearer to their whole weight.
    came_back: Option<Instant>,
    /// Until when standstills are made up for, to those.
    marked: Option<Mark>,
}

impl Core {
    /// What is due several times a second.
    ///
    /// # Errors
    /// As the kernel.
    pub(in crate::daemon) async fn manage(&mut self) -> Result<(), ApiError> {
        let now = clock::now();
        if self.state().manager.enabled {
            if self.managing.next_sample.is_none_or(|next| now >= next) {
                let backends = self.sample_connections();
                self.managing.next_sample = Some(now + SAMPLE / 2 + SAMPLE_PER_BACKEND * backends);
            }
            if self.managing.due.is_none_or(|due| now >= due) {
                self.managing.due = Some(now + self.state().manager.interval);
                self.interval().await?;
            }
        } else if self.managing.due.is_some() {
            self.managing = Managing::default();
        }
        self.bring_back(now).await
    }

    /// Looks at the connections of all backends; says how many these are.
    fn sample_connections(&mut self) -> u32 {
        let mut backends = 0;
        let active = self.table.active();
        for backend in self.record.state.backends() {
            backends += 1;
            if self.reported.contains_key(&backend.slot) {
                self.managing.sampler.pass_over(backend.slot);
                continue;
            }
            let connections = active.slot(backend.slot).active();
            self.managing.sampler.sample(backend.slot, connections, backend.weight());
        }
        backends
    }

    /// An interval's end: weighs every service, and publishes the weights of those that have changed enough.
    async fn interval(&mut self) -> Result<(), ApiError> {
        self.reread()?;
        let weighed = self.weigh();
        if weighed.is_empty() {
            return Ok(());
        }
        let mut state = self.state().clone();
        let is_weighed = |s: &Service| s.backends.iter().any(|b| weighed.contains_key(&b.slot));
        state.change(is_weighed, |service| {
            for backend in &mut service.backends {
                backend.managed = weighed.get(&backend.slot).copied().or(backend.managed);
            }
        });
        self.weight_updates += weighed.len() as u64;
        self.commit(state, None, Cause::Manager).await
    }

    /// Counts connections anew, every `refresh` intervals.
    fn reread(&mut self) -> Result<(), ApiError> {
        if self.managing.until_reread > 0 {
            self.managing.until_reread -= 1;
            return Ok(());
        }
        self.managing.until_reread = self.state().manager.refresh.saturating_sub(1);
        let (_, counters) = self.recent_counters()?;
        let connections = counters.backends.iter().map(|(slot, c)| (*slot, c.connections));
        self.managing.seen = self.managing.sampler.reread(connections.collect());
        Ok(())
    }

    /// Weighs all services; yields the weights to be published, by slot.
    fn weigh(&mut self) -> HashMap<u32, u32> {
        let mut all = HashMap::new();
        let mut published = HashMap::new();
        // What is kept of services and of backends that are gone goes with the rest of it.
        let mut former = std::mem::take(&mut self.managing.weights);
        let mut weights = HashMap::with_capacity(former.len());
        for service in &self.record.state.services {
            let inputs = self.inputs(service);
            let manager = &self.record.state.manager;
            let proportions = service.config.proportions.unwrap_or(manager.proportions);
            let mut of_service = former.remove(&service.id).unwrap_or_default();
            of_service.keep(|slot| service.backends.iter().any(|b| b.slot == slot));
            let bound = service.config.weight_bound;
            let cycle = of_service.cycle(manager, proportions, bound, &inputs);
            for weighed in cycle.weighed {
                let (slot, weight) = (weighed.input.slot, weighed.weight);
                if cycle.is_published && weight != weighed.input.weight {
                    self.events.tell(changed(service, &weighed, self.managing.seen.get(&slot)));
                    published.insert(slot, weight);
                }
                all.insert(slot, weighed);
            }
            weights.insert(service.id, of_service);
        }
        (self.managing.weights, self.managing.weighed) = (weights, all);
        published
    }

    /// What is known of the backends of a service that take connections. One that has not taken any for a whole time between two
    /// countings is left as it is: a service that is taken over, a backend that has come back.
    fn inputs(&self, service: &Service) -> Vec<Input> {
        let seen =
            |b: &Backend| self.managing.seen.get(&b.slot).copied().filter(|s| s.weight > 0.0);
        let takers = service.backends.iter().filter(|b| !self.is_idle(b.slot));
        let takers: Vec<(&Backend, Seen)> = takers.filter_map(|b| Some((b, seen(b)?))).collect();
        let [active, new] = Seen::are_telling(takers.iter().map(|(_, seen)| *seen));
        let input = |(backend, seen): &(&Backend, Seen)| {
            let (advisor, system) = self.loads(backend.slot);
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

    /// Milliseconds as the advisor has them, and what the agent says, while they are not too old.
    fn loads(&self, slot: u32) -> (Option<f64>, Option<f64>) {
        let oldest = self.state().manager.report_timeout;
        // While this process stood still, nobody could be heard.
        let now = running();
        let is_fresh =
            |heard: Duration| oldest.is_none_or(|oldest| now.saturating_sub(heard) <= oldest);
        let fresh = || self.advised.loads(slot).filter(|(_, heard)| is_fresh(*heard));
        // Whole milliseconds: below one, probes in a LAN differ by chance alone.
        let millis =
            fresh().find_map(|(load, _)| load.seconds()).map(|s| (s * 1e3).round().max(1.0));
        (millis, fresh().find_map(|(load, _)| load.system()))
    }

    /// Gives backends that come back more of their weight.
    async fn bring_back(&mut self, now: Instant) -> Result<(), ApiError> {
        let last = self.managing.came_back;
        let is_due = last.is_none_or(|at| now.saturating_duration_since(at) >= COME_BACK);
        // Counted from the first one on that comes back: it keeps its first weight for a whole step.
        if !reconcile::is_coming_back(self.state()) {
            self.managing.marked = None;
            return Ok(());
        }
        if !is_due {
            self.managing.marked.get_or_insert_with(Mark::now);
            return Ok(());
        }
        self.managing.came_back = Some(now);
        let still = self.managing.marked.replace(Mark::now()).map(Mark::stood_still);
        let still = still.unwrap_or_default();
        let mut state = self.state().clone();
        // It was given no more meanwhile: it goes on from where it was.
        reconcile::delay(&mut state, still);
        if !reconcile::come_back(&mut state, clock::epoch_ms()) && still.is_zero() {
            return Ok(());
        }
        self.commit(state, None, Cause::Manager).await
    }

    /// The weight of a backend as it is shown: of one that an advisor has down, none while the manager is at work.
    pub(in crate::daemon) fn shown_weight(&self, backend: &Backend) -> u32 {
        if self.state().manager.enabled && backend.advised_down.is_some() {
            return 0;
        }
        backend.weight()
    }

    /// What the manager made of what it knows.
    pub(in crate::daemon) fn manager_report(&self) -> ManagerReport {
        let state = self.state();
        let nics = self.table_nics();
        let service = |service: &Service| ManagedService {
            service: service.config.name.clone(),
            proportions: service.config.proportions.unwrap_or(state.manager.proportions),
            weight_bound: service.config.weight_bound,
            backends: service.backends.iter().map(|b| self.managed_backend(b, &nics)).collect(),
        };
        ManagerReport {
            settings: ManagerSettings::from(&state.manager),
            services: state.services.iter().map(|s| service(s)).collect(),
        }
    }

    fn managed_backend(&self, backend: &Backend, nics: &[reconcile::Nic]) -> ManagedBackend {
        let weighed = self.managing.weighed.get(&backend.slot);
        let weighed = weighed.filter(|_| self.state().manager.enabled);
        let seen = self.managing.seen.get(&backend.slot).filter(|_| weighed.is_some());
        let loads = || self.advised.loads(backend.slot).map(|(load, _)| load);
        ManagedBackend {
            backend: backend.config.name.clone(),
            state: self.idle_reason(backend, nics).unwrap_or_else(|| "up".to_owned()),
            fixed_weight: backend.is_fixed(),
            active_connections: seen.map(|seen| seen.active),
            new_connections: seen.map(|seen| seen.new),
            load_seconds: loads().find_map(Load::seconds),
            system_load: loads().find_map(Load::system),
            components: weighed.map(|weighed| Components::of(weighed.components)),
            target: weighed.map(|weighed| weighed.target),
            weight: self.shown_weight(backend),
        }
    }
}

/// A weight that is published, with the numbers that made it.
fn changed(service: &Service, weighed: &Weighed, seen: Option<&Seen>) -> EventKind {
    let Weighed { input, components, target, weight } = *weighed;
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
