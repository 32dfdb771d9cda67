//! Whether values make sense, one by one and together: for a file, for a merge and for a change at runtime alike.

use std::{collections::HashMap, path::Path};

use dispatcher_common::limits::{
    CONDITION_POOL, MAX_BACKENDS_PER_SERVICE, MAX_COUNTED_BACKENDS, MAX_INTERFACES, MAX_RULES,
    MAX_SERVICES, MAX_SLOTS, MAX_WEIGHT_BOUND, SCHEDULE_POOL,
};

use super::{ConfigError, ConfigErrors};
use crate::{
    model::{BackendConfig, Config, Manager, Protocol, RuleConfig, Service, ServiceConfig},
    schedule,
};

mod advisor;
mod affinity;
mod exits;
mod manager;
mod rule;
mod value;

pub(in crate::config) use value::{BOUND_RANGE, MOST_CONNECTIONS_RANGE};
use value::{
    LONGEST_INTERFACE, address, is_interface, max_connections, name, timeout, unicast, vip,
};
pub use value::{shown, weight};

/// Longest path of a Unix socket: `sun_path` without its end.
const LONGEST_SOCKET: usize = 107;
/// Slots of all schedules: while one replaces another, both are there.
const RING_SLOTS: usize = SCHEDULE_POOL as usize / 2;
/// Conditions of all rules, likewise.
const CONDITIONS: usize = CONDITION_POOL as usize / 2;

/// Something wrong, and the values it follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and at which path.
    pub error: ConfigError,
    /// Paths of other values that take part in it: if one of them is wrong itself, this may not be.
    pub causes: Vec<String>,
}

/// Everything wrong with a configuration, in its order.
#[must_use]
pub fn config(config: &Config) -> Vec<Problem> {
    let mut found = Found::default();
    found.interfaces(&config.interfaces);
    found.path("api_socket", &config.api_socket, LONGEST_SOCKET);
    found.path("pin_dir", &config.pin_dir, usize::MAX);
    found.manager(&config.manager);
    found.is_managed = config.manager.enabled;
    found.exits(&config.exits);
    found.services(&config.services);
    found.problems
}

/// Everything wrong with services, one by one and together.
///
/// # Errors
/// All problems, without paths: the services need not be those of a file.
pub fn services(services: &[ServiceConfig]) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.services(services);
    found.pathless()
}

/// Everything wrong with a service of which only settings of its backends have changed, not their names and addresses, where
/// nothing else is new. `rings` is [`ring_slots_in_force`] of all services together.
///
/// # Errors
/// All problems, without paths.
pub fn backends_of(service: &Service, rings: usize) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.backends(0, &service.whole());
    found.total(rings, RING_SLOTS, "schedule slots of all services");
    found.pathless()
}

/// Everything wrong with the manager's settings.
///
/// # Errors
/// All problems, without paths.
pub fn manager(manager: &Manager) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.manager(manager);
    found.pathless()
}

/// Everything wrong with a list of NICs.
///
/// # Errors
/// All problems, without paths.
pub fn interfaces(names: &[String]) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.interfaces(names);
    found.pathless()
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    /// Path of the object that is looked at, with its dot.
    prefix: String,
    /// What messages call it, with colon and blank.
    object: String,
    /// Whether weights may become any that their bounds allow.
    is_managed: bool,
}

impl Found {
    fn say(&mut self, key: &str, message: &str) -> &mut Problem {
        let path = format!("{}{key}", self.prefix);
        let error = ConfigError::new(path, format!("{}{message}", self.object));
        self.problems.push(Problem { error, causes: Vec::new() });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn complain(&mut self, key: &str, check: Result<(), String>) {
        if let Err(message) = check {
            self.say(key, &message);
        }
    }

    fn pathless(self) -> Result<(), ConfigErrors> {
        let pathless = |p: Problem| ConfigError { path: String::new(), ..p.error };
        let errors: Vec<_> = self.problems.into_iter().map(pathless).collect();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }

    fn interfaces(&mut self, names: &[String]) {
        for (i, name) in names.iter().enumerate() {
            let key = format!("interfaces[{i}]");
            if !is_interface(name) {
                let message = format!(
                    "interface {name:?} is no NIC's name, expected 1 to {LONGEST_INTERFACE} \
                     bytes without blanks, '/' and ':'"
                );
                self.say(&key, &message);
            } else if names[..i].contains(name) {
                self.say(&key, &format!("interface {name} is listed twice, expected once"));
            }
        }
        if names.len() > MAX_INTERFACES as usize {
            let message = format!("{} NICs are too many, expected {MAX_INTERFACES}", names.len());
            self.say("interfaces", &message);
        }
    }

    fn path(&mut self, key: &str, path: &Path, longest: usize) {
        let length = path.as_os_str().len();
        if !path.is_absolute() {
            self.say(key, &format!("{key} {path:?} is not absolute, expected a path from /"));
        } else if length > longest {
            let message =
                format!("{key} has {length} bytes, expected at most {longest} for a Unix socket");
            self.say(key, &message);
        }
    }

    fn services(&mut self, services: &[ServiceConfig]) {
        for (i, service) in services.iter().enumerate() {
            self.object = match service.name.as_str() {
                "" => format!("service[{i}]: "),
                name => format!("service {}: ", shown(name)),
            };
            self.prefix = format!("service[{i}].");
            self.service(service);
            self.backends(i, service);
            self.rules(i, service);
        }
        (self.object, self.prefix) = (String::new(), String::new());
        self.services_together(services);
    }

    fn service(&mut self, service: &ServiceConfig) {
        self.complain("name", name(&service.name));
        self.complain("vip", vip(service.vip));
        for (key, value) in [
            ("stale_timeout", service.stale_timeout),
            ("syn_timeout", service.syn_timeout),
            ("fin_timeout", service.fin_timeout),
        ] {
            self.complain(key, timeout(key, value));
        }
        self.affinity(&service.affinity);
        self.measured(service);
        self.advisors(service);
        self.slow_start(service.slow_start);
        if let Some(proportions) = service.proportions {
            self.proportions(proportions);
        }
        if !(1..=MAX_WEIGHT_BOUND).contains(&service.weight_bound) {
            let message = format!(
                "weight_bound {} is out of range, expected {BOUND_RANGE}",
                service.weight_bound
            );
            self.say("weight_bound", &message);
        }
    }

    /// Acknowledgements are what is measured by, and UDP has none.
    fn measured(&mut self, service: &ServiceConfig) {
        if service.protocol == Protocol::Tcp {
            return;
        }
        if service.measure {
            self.say("measure", "measure true needs acknowledgements, expected protocol tcp");
        }
        if service.scheduler.measures() {
            let message = format!(
                "scheduler {} needs acknowledgements, expected protocol tcp",
                service.scheduler
            );
            self.say("scheduler", &message);
        }
    }

    fn backends(&mut self, i: usize, service: &ServiceConfig) {
        let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
        for (j, backend) in service.backends.iter().enumerate() {
            let same_name = names.insert(backend.name.as_str(), j);
            let same_address = addresses.insert(backend.address, j);
            let before = self.problems.len();
            self.backend(i, service, backend);
            if self.problems.len() == before && same_name.is_none() && same_address.is_none() {
                continue;
            }
            // Only now is it put into words which backend it is: with thousands of them that takes longest.
            self.problems.truncate(before);
            self.object = match (service.name.as_str(), backend.name.as_str()) {
                ("", _) | (_, "") => format!("service[{i}].backend[{j}]: "),
                (service, backend) => format!("backend {}/{}: ", shown(service), shown(backend)),
            };
            self.prefix = format!("service[{i}].backend[{j}].");
            self.backend(i, service, backend);
            if let Some(first) = same_name {
                let message = format!("name {} is given twice, expected once", backend.name);
                self.say("name", &message).causes = vec![backend_path(i, first, "name")];
            }
            if let Some(first) = same_address {
                let other = shown(&service.backends[first].name);
                let message =
                    format!("address {} is backend {other}'s, expected once", backend.address);
                self.say("address", &message).causes = vec![backend_path(i, first, "address")];
            }
        }
        let count = service.backends.len();
        if count > MAX_BACKENDS_PER_SERVICE {
            self.prefix = format!("service[{i}].");
            self.object = format!("service {}: ", shown(&service.name));
            let message =
                format!("{count} backends are too many, expected {MAX_BACKENDS_PER_SERVICE}");
            self.say("backend", &message);
        }
        let scheduler = service.scheduler;
        if scheduler.compares() && count > MAX_COUNTED_BACKENDS {
            self.prefix = format!("service[{i}].");
            self.object = format!("service {}: ", shown(&service.name));
            let message = format!(
                "{count} backends are too many for scheduler {scheduler}, expected {MAX_COUNTED_BACKENDS}"
            );
            self.say("scheduler", &message).causes = vec![format!("service[{i}].backend")];
        }
    }

    fn backend(&mut self, i: usize, service: &ServiceConfig, backend: &BackendConfig) {
        self.complain("name", name(&backend.name));
        self.complain("address", address(backend.address, backend.local));
        if backend.address == service.vip && !backend.local {
            let problem = self.say(
                "address",
                &format!(
                    "address {} is the service's vip, expected the backend's own",
                    backend.address
                ),
            );
            problem.causes = vec![format!("service[{i}].vip")];
        }
        if let Some(mac) = backend.mac {
            self.complain("mac", unicast(mac));
        }
        self.complain("max_connections", max_connections(backend.max_connections));
        if let Err(message) = weight(backend.weight, service.weight_bound) {
            let problem = self.say("weight", &message);
            problem.causes = vec![format!("service[{i}].weight_bound")];
        }
    }

    fn services_together(&mut self, services: &[ServiceConfig]) {
        let (mut names, mut keys) = (HashMap::new(), HashMap::new());
        for (i, service) in services.iter().enumerate() {
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
                    shown(&services[first].name),
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

    fn totals(&mut self, services: &[ServiceConfig]) {
        let backends: usize = services.iter().map(|s| s.backends.len()).sum();
        let rings: usize = services.iter().map(|s| ring_slots_of(s, self.is_managed)).sum();
        let rules = services.iter().flat_map(|s| &s.rules);
        let conditions = rules.clone().map(RuleConfig::conditions).sum();
        for (count, most, what) in [
            (services.len(), MAX_SERVICES as usize, "services"),
            (backends, MAX_SLOTS as usize - 1, "backends of all services"),
            (rings, RING_SLOTS, "schedule slots of all services"),
            (rules.count(), MAX_RULES as usize, "rules of all services"),
            (conditions, CONDITIONS, "conditions of all services' rules"),
        ] {
            self.total(count, most, what);
        }
    }
}

impl Found {
    fn total(&mut self, count: usize, most: usize, what: &str) {
        if count > most {
            (self.object, self.prefix) = (String::new(), String::new());
            self.say("service", &format!("{count} {what} are too many, expected {most}"));
        }
    }
}

/// Slots of a service's schedules, at most.
fn ring_slots_of(service: &ServiceConfig, is_managed: bool) -> usize {
    ring_slots(service, service.backends.iter(), service.rules.iter(), is_managed)
}

/// Slots of the schedules, at most, of a service with these backends and rules.
fn ring_slots<'s>(
    service: &ServiceConfig,
    backends: impl Iterator<Item = &'s BackendConfig> + Clone,
    rules: impl Iterator<Item = &'s RuleConfig>,
    is_managed: bool,
) -> usize {
    let space = |backends: &mut dyn Iterator<Item = &BackendConfig>| {
        let varies = is_managed || !service.slow_start.is_zero();
        let mut weights: Vec<_> = backends.map(|b| b.weight).collect();
        if varies && let [first, others @ ..] = weights.as_mut_slice() {
            // One less for one of them: nothing divides all.
            *first = service.weight_bound.saturating_sub(1).max(1);
            others.fill(service.weight_bound);
        }
        schedule::space(service.scheduler, &weights)
    };
    let of_rule = |rule: &RuleConfig| {
        let names = rule.names();
        space(&mut backends.clone().filter(|b| names.contains(b.name.as_str())))
    };
    space(&mut backends.clone()) + rules.map(of_rule).sum::<usize>()
}

/// Slots of the schedules of a service in force, at most.
#[must_use]
pub fn ring_slots_in_force(service: &Service) -> usize {
    let backends = service.backends.iter().map(|backend| &backend.config);
    ring_slots(&service.config, backends, service.rules.iter().map(|rule| &rule.config), false)
}

fn backend_path(i: usize, j: usize, key: &str) -> String {
    format!("service[{i}].backend[{j}].{key}")
}
