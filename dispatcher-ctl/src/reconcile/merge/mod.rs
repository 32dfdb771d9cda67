//! Three-way merge of the file as last applied, the file as it is, and what was set at runtime.
//!
//! What changed in the file wins. Everything else stays as it runs: a weight set by hand, a service added at runtime, a
//! backend removed at runtime. Services are identified by name, backends by name within their service. A service or backend
//! that was removed at runtime comes back when its entry in the file changes in any way.

use std::collections::HashMap;

use super::settle::{Wanted, settle};
use crate::{
    config::{ConfigErrors, check},
    model::{Backend, BackendConfig, Config, RetiredSlot, Service, ServiceConfig, Shared, State},
    settings::row::merged,
};

/// The state once `new` is applied. `applied` is the file as last applied, if any was; `retired` are slots that must not be
/// assigned; `now_ms` is the time of what is added, in milliseconds since the epoch.
///
/// # Errors
/// File and runtime are valid, but not together (a service added at runtime may have a VIP and port that the file now has,
/// too), or there are no slots left. All errors are returned, and nothing changes.
pub fn merge(
    applied: Option<&Config>,
    new: &Config,
    running: &State,
    retired: &[RetiredSlot],
    now_ms: u64,
) -> Result<State, ConfigErrors> {
    let interfaces = interfaces(applied, new, running);
    let manager = merged(applied.map(|a| &a.manager), &new.manager, &running.manager);
    let services = services(applied, new, running);
    let merged = check::interfaces(&interfaces)
        .and_then(|()| settle(services, running, retired, now_ms))
        .map_err(of_both)?;
    Ok(State { interfaces, manager, services: merged })
}

/// Adds a hint to errors: the file alone is valid, so they involve what was set at runtime.
fn of_both(mut errors: ConfigErrors) -> ConfigErrors {
    const HINT: &str = "part of this was set at runtime and outlasts a reload: change it there";
    for error in &mut errors.listed {
        error.hint.get_or_insert_with(|| HINT.to_owned());
    }
    errors
}

fn interfaces(applied: Option<&Config>, new: &Config, running: &State) -> Vec<String> {
    let was_in_file = |name: &String| applied.is_some_and(|a| a.interfaces.contains(name));
    let mut merged: Vec<_> = new
        .interfaces
        .iter()
        .filter(|name| running.interfaces.contains(name) || !was_in_file(name))
        .cloned()
        .collect();
    for name in &running.interfaces {
        if !new.interfaces.contains(name) && !was_in_file(name) {
            merged.push(name.clone());
        }
    }
    merged
}

fn services(applied: Option<&Config>, new: &Config, running: &State) -> Vec<Wanted> {
    let applied = applied.map(|a| by_name(&a.services)).unwrap_or_default();
    let before = |name: &str| applied.get(name).copied();
    let by_new = by_name(&new.services);
    let by_running: HashMap<&str, &Shared<Service>> =
        running.services.iter().map(|s| (s.config.name.as_str(), s)).collect();
    let mut merged = Vec::new();
    for wanted in &new.services {
        let before = before(&wanted.name);
        match by_running.get(wanted.name.as_str()) {
            // The same as applied before: the running one was made from it.
            Some(runs) if before.is_some_and(|before| before.is_same(wanted)) => {
                merged.push(Wanted::AsItRuns((*runs).clone()));
            }
            Some(runs) => {
                let before = before.map(|before| &**before);
                merged.push(Wanted::Anew(service(before, wanted, runs).into()));
            }
            // Removed at runtime, and unchanged in the file.
            None if before == Some(wanted) => {}
            None => merged.push(Wanted::Anew((**wanted).clone().into())),
        }
    }
    for runs in &running.services {
        let name = &runs.config.name;
        if !by_new.contains_key(name.as_str()) && before(name).is_none() {
            merged.push(Wanted::AsItRuns(runs.clone()));
        }
    }
    merged
}

/// Services by name, for files with thousands.
fn by_name(services: &[Shared<ServiceConfig>]) -> HashMap<&str, &Shared<ServiceConfig>> {
    services.iter().map(|service| (service.name.as_str(), service)).collect()
}

fn service(
    before: Option<&ServiceConfig>,
    wanted: &ServiceConfig,
    runs: &Service,
) -> ServiceConfig {
    let settings = merged(before.map(|b| &b.settings), &wanted.settings, &runs.config);
    let rules = match before.is_some_and(|before| before.rules == wanted.rules) {
        true => runs.rules.iter().map(|rule| rule.config.clone()).collect(),
        false => wanted.rules.clone(),
    };
    ServiceConfig { settings, backends: backends(before, wanted, runs), rules }
}

fn backends(
    before: Option<&ServiceConfig>,
    wanted: &ServiceConfig,
    runs: &Service,
) -> Vec<BackendConfig> {
    if before.is_some_and(|before| before.backends == wanted.backends) {
        return runs.backends.iter().map(|backend| backend.config.clone()).collect();
    }
    let before = |name: &str| before.and_then(|b| b.backend(name));
    let mut merged = Vec::new();
    for wanted in &wanted.backends {
        let before = before(&wanted.name);
        match runs.backend(&wanted.name) {
            Some(runs) => merged.push(backend(before, wanted, &runs.config)),
            None if before == Some(wanted) => {}
            None => merged.push(wanted.clone()),
        }
    }
    for Backend { config: runs, .. } in &runs.backends {
        if wanted.backend(&runs.name).is_none() && before(&runs.name).is_none() {
            merged.push(runs.clone());
        }
    }
    merged
}

fn backend(
    before: Option<&BackendConfig>,
    wanted: &BackendConfig,
    runs: &BackendConfig,
) -> BackendConfig {
    let is_new = before.is_none_or(|before| before.address != wanted.address);
    if is_new && wanted.address != runs.address {
        // Another machine: what was set at runtime for the old one does not apply to it.
        return wanted.clone();
    }
    merged(before, wanted, runs)
}

#[cfg(test)]
mod tests;
