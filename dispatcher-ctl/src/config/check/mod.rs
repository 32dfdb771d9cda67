//! Checks values, one by one and together: of a file, of a merge and of a change at runtime.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use dispatcher_common::limits::{MAX_BACKENDS_PER_SERVICE, MAX_COUNTED_BACKENDS, MAX_INTERFACES};

use crate::{
    model::{BackendConfig, Config, Manager, Outline, Protocol, Service, ServiceSettings},
    settings::{ConfigError, ConfigErrors, Problem, row::Table},
};

mod advisor;
mod affinity;
mod exits;
mod manager;
mod rule;
mod together;
mod value;

pub use together::ring_slots_in_force;
pub use value::weight;
use value::{LONGEST_INTERFACE, address, is_interface, name, unicast, vip};

pub use crate::settings::show::{cut, quoted, shown};

/// Longest path of a Unix socket: `sun_path` without its NUL.
const LONGEST_SOCKET: usize = 107;

/// Everything wrong with a configuration, in its order.
#[must_use]
pub fn config(config: &Config) -> Vec<Problem> {
    config_of_known(config, |_| false)
}

/// As [`config()`], where the services at some places are known to be valid on their own: these are checked only together
/// with the others.
#[must_use]
pub fn config_of_known(config: &Config, is_known: impl Fn(usize) -> bool) -> Vec<Problem> {
    let mut found = Found::default();
    found.interfaces(&config.interfaces);
    found.path("api_socket", &config.api_socket, LONGEST_SOCKET);
    found.path("pin_dir", &config.pin_dir, usize::MAX);
    found.manager(&config.manager);
    found.is_managed = config.manager.enabled;
    found.exits(&config.exits);
    let services: Vec<_> = config.services.iter().map(|s| Outline::from(&**s)).collect();
    found.services(&services, |i| !is_known(i));
    found.problems
}

/// Everything wrong with services: with those at new places one by one, and with all of them together.
///
/// # Errors
/// All problems, without paths: the services need not be those of a file.
pub fn services(
    services: &[Outline<'_>],
    is_new: impl Fn(usize) -> bool,
) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.services(services, is_new);
    found.pathless()
}

/// Everything wrong with a service of which only settings of its backends have changed, not their names and addresses, where
/// nothing else is new. `rings` is [`ring_slots_in_force`] of all services together.
///
/// # Errors
/// All problems, without paths.
pub fn backends_of(service: &Service, rings: usize) -> Result<(), ConfigErrors> {
    let mut found = Found::default();
    found.backends(0, &service.into());
    found.rings(rings);
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
    /// Path of the object that is checked, with its dot.
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

    /// Checks the bounds of an object's settings; `table` is the path of its table, with its dot.
    fn bounds<T: Table>(&mut self, table: &str, object: &T) {
        for row in T::ROWS {
            if let Some(message) = row.complaint(object) {
                self.say(&format!("{table}{}", row.key), &message);
            }
        }
    }

    fn pathless(self) -> Result<(), ConfigErrors> {
        let errors: Vec<_> = self.problems.into_iter().map(Problem::pathless).collect();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::new(errors, 0)) }
    }

    fn interfaces(&mut self, names: &[String]) {
        let mut before = HashSet::new();
        for (i, name) in names.iter().enumerate() {
            let key = format!("interfaces[{i}]");
            if !is_interface(name) {
                let message = format!(
                    "interface {} is no NIC's name, expected 1 to {LONGEST_INTERFACE} \
                     bytes without blanks, '/' and ':'",
                    quoted(name)
                );
                self.say(&key, &message);
            } else if !before.insert(name) {
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

    fn services(&mut self, services: &[Outline<'_>], is_new: impl Fn(usize) -> bool) {
        for (i, service) in services.iter().enumerate().filter(|(i, _)| is_new(*i)) {
            self.object = match service.settings.name.as_str() {
                "" => format!("service[{i}]: "),
                name => format!("service {}: ", shown(name)),
            };
            self.prefix = format!("service[{i}].");
            self.service(service.settings);
            self.backends(i, service);
            self.rules(i, service);
        }
        (self.object, self.prefix) = (String::new(), String::new());
        self.services_together(services);
    }

    fn service(&mut self, service: &ServiceSettings) {
        self.complain("name", name(&service.name));
        self.complain("vip", vip(service.vip));
        self.bounds("", service);
        self.affinity(&service.affinity);
        self.measured(service);
        self.advisors(service);
        if let Some(proportions) = service.proportions {
            self.proportions(proportions);
        }
    }

    /// Measurement needs acknowledgements, which UDP does not have.
    fn measured(&mut self, service: &ServiceSettings) {
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

    fn backends(&mut self, i: usize, service: &Outline<'_>) {
        let Outline { settings: service, backends, .. } = service;
        let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
        for (j, backend) in backends.iter().copied().enumerate() {
            let same_name = names.insert(backend.name.as_str(), j);
            let same_address = addresses.insert(backend.address, j);
            let before = self.problems.len();
            self.backend(i, service, backend);
            if self.problems.len() == before && same_name.is_none() && same_address.is_none() {
                continue;
            }
            // The name of the backend is formatted only for errors: with thousands of backends that takes longest.
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
                let other = shown(&backends[first].name);
                let message =
                    format!("address {} is backend {other}'s, expected once", backend.address);
                self.say("address", &message).causes = vec![backend_path(i, first, "address")];
            }
        }
        let count = backends.len();
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

    fn backend(&mut self, i: usize, service: &ServiceSettings, backend: &BackendConfig) {
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
        self.bounds("", backend);
        if let Err(message) = weight(backend.weight, service.weight_bound) {
            let problem = self.say("weight", &message);
            problem.causes = vec![format!("service[{i}].weight_bound")];
        }
    }
}

fn backend_path(i: usize, j: usize, key: &str) -> String {
    format!("service[{i}].backend[{j}].{key}")
}
