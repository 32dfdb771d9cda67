//! Whether services make sense beside each other: names and endpoints each once, and no more of anything than there is room for.

use std::collections::HashMap;

use dispatcher_common::limits::{
    CONDITION_POOL, MAX_RULES, MAX_SERVICES, MAX_SLOTS, SCHEDULE_POOL,
};

use super::{Found, shown};
use crate::{
    model::{BackendConfig, RuleConfig, Service, ServiceConfig},
    schedule,
};

/// Slots of all schedules: while one replaces another, both are there.
const RING_SLOTS: usize = SCHEDULE_POOL as usize / 2;
/// Conditions of all rules, likewise.
const CONDITIONS: usize = CONDITION_POOL as usize / 2;

/// A service as it is looked at beside others, be it one of a file or one that runs.
#[derive(Clone, Debug)]
pub struct Outline<'s> {
    /// Its settings; what they say of backends and rules is of no account.
    pub(super) settings: &'s ServiceConfig,
    pub(super) backends: Vec<&'s BackendConfig>,
    pub(super) rules: Vec<&'s RuleConfig>,
}

impl<'s> From<&'s ServiceConfig> for Outline<'s> {
    fn from(service: &'s ServiceConfig) -> Self {
        let (backends, rules) = (service.backends.iter(), service.rules.iter());
        Self { settings: service, backends: backends.collect(), rules: rules.collect() }
    }
}

impl<'s> From<&'s Service> for Outline<'s> {
    fn from(service: &'s Service) -> Self {
        Self {
            settings: &service.config,
            backends: service.backends.iter().map(|backend| &backend.config).collect(),
            rules: service.rules.iter().map(|rule| &rule.config).collect(),
        }
    }
}

impl<'s> Outline<'s> {
    /// Slots of its schedules, at most.
    fn ring_slots(&self, is_managed: bool) -> usize {
        let all = self.space(self.backends.iter().copied(), is_managed);
        if self.rules.is_empty() {
            return all;
        }
        let named = |b: &&'s BackendConfig| (b.name.as_str(), *b);
        let by_name: HashMap<_, _> = self.backends.iter().map(named).collect();
        let of_rule = |rule: &&RuleConfig| {
            let names = rule.names().into_iter();
            self.space(names.filter_map(|name| by_name.get(name).copied()), is_managed)
        };
        all + self.rules.iter().map(of_rule).sum::<usize>()
    }

    /// Slots of the schedule for some of its backends.
    fn space(&self, backends: impl Iterator<Item = &'s BackendConfig>, is_managed: bool) -> usize {
        let varies = is_managed || !self.settings.slow_start.is_zero();
        let mut weights: Vec<_> = backends.map(|b| b.weight).collect();
        if varies && let [first, others @ ..] = weights.as_mut_slice() {
            let bound = self.settings.weight_bound;
            // One less for one of them: nothing divides all.
            *first = bound.saturating_sub(1).max(1);
            others.fill(bound);
        }
        schedule::space(self.settings.scheduler, &weights)
    }
}

impl Found {
    pub(super) fn services_together(&mut self, services: &[Outline<'_>]) {
        let (mut names, mut keys) = (HashMap::new(), HashMap::new());
        for (i, Outline { settings: service, .. }) in services.iter().enumerate() {
            let path = |i: usize, key: &str| format!("service[{i}].{key}");
            if let Some(first) = names.insert(service.name.as_str(), i) {
                let message =
                    format!("service {0}: name {0} is given twice, expected once", service.name);
                self.say(&path(i, "name"), &message).causes = vec![path(first, "name")];
            }
            if let Some(first) = keys.insert(service.key(), i) {
                let message = format!(
                    "service {}: {} is service {}'s, expected once",
                    shown(&service.name),
                    service.endpoint(),
                    shown(&services[first].settings.name),
                );
                let causes = ["vip", "port", "protocol"]
                    .iter()
                    .flat_map(|key| [path(i, key), path(first, key)])
                    .collect();
                self.say(&path(i, "vip"), &message).causes = causes;
            }
        }
        self.affinity_together(services);
        self.totals(services);
    }

    fn totals(&mut self, services: &[Outline<'_>]) {
        let backends = services.iter().map(|s| s.backends.len()).sum();
        self.total(services.len(), MAX_SERVICES as usize, "services");
        self.total(backends, MAX_SLOTS as usize - 1, "backends of all services");
        self.rings(services.iter().map(|s| s.ring_slots(self.is_managed)).sum());
        let rules = services.iter().flat_map(|s| &s.rules);
        let conditions = rules.clone().map(|rule| rule.conditions()).sum();
        self.total(rules.count(), MAX_RULES as usize, "rules of all services");
        self.total(conditions, CONDITIONS, "conditions of all services' rules");
    }

    pub(super) fn rings(&mut self, slots: usize) {
        self.total(slots, RING_SLOTS, "schedule slots of all services");
    }

    fn total(&mut self, count: usize, most: usize, what: &str) {
        if count > most {
            (self.object, self.prefix) = (String::new(), String::new());
            self.say("service", &format!("{count} {what} are too many, expected {most}"));
        }
    }
}

/// Slots of the schedules of a service in force, at most.
#[must_use]
pub fn ring_slots_in_force(service: &Service) -> usize {
    Outline::from(service).ring_slots(false)
}
