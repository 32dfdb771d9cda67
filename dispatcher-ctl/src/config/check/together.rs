//! Checks services together: names and endpoints must be unique, and there must be room for all.

use std::collections::HashMap;

use dispatcher_common::limits::{
    CONDITION_POOL, MAX_RULES, MAX_SERVICES, MAX_SLOTS, SCHEDULE_POOL,
};

use super::{Found, shown};
use crate::{
    model::{Outline, RuleConfig, Service, ServiceSettings},
    schedule,
};

/// Slots of all schedules: while one replaces another, both exist.
const RING_SLOTS: usize = SCHEDULE_POOL as usize / 2;
/// Conditions of all rules, for the same reason.
const CONDITIONS: usize = CONDITION_POOL as usize / 2;

/// The most slots that the schedules of a service take.
fn ring_slots(service: &Outline<'_>, is_managed: bool) -> usize {
    let weights = service.backends.iter().map(|backend| backend.weight).collect();
    let all = space(service.settings, weights, is_managed);
    if service.rules.is_empty() {
        return all;
    }
    let by_name: HashMap<_, _> =
        service.backends.iter().map(|backend| (backend.name.as_str(), backend.weight)).collect();
    let of_rule = |rule: &&RuleConfig| {
        let named = rule.names().into_iter().filter_map(|name| by_name.get(name).copied());
        space(service.settings, named.collect(), is_managed)
    };
    all + service.rules.iter().map(of_rule).sum::<usize>()
}

/// The most slots that the schedule for backends of these weights takes.
fn space(service: &ServiceSettings, mut weights: Vec<u32>, is_managed: bool) -> usize {
    let varies = is_managed || !service.slow_start.is_zero();
    if varies && let [first, others @ ..] = weights.as_mut_slice() {
        // One weight is smaller by one, so that no number divides all of them.
        *first = service.weight_bound.saturating_sub(1).max(1);
        others.fill(service.weight_bound);
    }
    schedule::space(service.scheduler, &weights)
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
        self.rings(services.iter().map(|s| ring_slots(s, self.is_managed)).sum());
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

/// The most slots that the schedules of a service in force take.
#[must_use]
pub fn ring_slots_in_force(service: &Service) -> usize {
    ring_slots(&Outline::from(service), false)
}
