//! Who wins: the file as last applied, the file as it is, and what was set at runtime (a three-way merge).
//!
//! What changed in the file wins. What did not stays as it runs, be it a weight set by hand, a service added at runtime or a
//! backend removed at runtime. Services are known by name, backends by name within their service. A service or backend
//! that was removed at runtime comes back when its entry in the file changes in any way.

use std::collections::HashMap;

use super::settle::{Wanted, settle};
use crate::{
    config::{ConfigErrors, check},
    model::{
        Backend, BackendConfig, Config, Manager, RetiredSlot, Service, ServiceConfig,
        ServiceSettings, Shared, State,
    },
};

/// What should run once `new` is applied. `applied` is the file as last applied, if any was; `retired` are slots that are
/// not to be given out; `now_ms` is stamped on what is added, in milliseconds since the epoch.
///
/// # Errors
/// File and runtime, each valid, do not go together (a service added at runtime may have a VIP and port that the file
/// now has, too), or there are no slots left. All errors; nothing is to be changed.
pub fn merge(
    applied: Option<&Config>,
    new: &Config,
    running: &State,
    retired: &[RetiredSlot],
    now_ms: u64,
) -> Result<State, ConfigErrors> {
    let interfaces = interfaces(applied, new, running);
    let manager = manager(applied.map(|a| &a.manager), &new.manager, &running.manager);
    let services = services(applied, new, running);
    let merged = check::interfaces(&interfaces)
        .and_then(|()| settle(services, running, retired, now_ms))
        .map_err(of_both)?;
    Ok(State { interfaces, manager, services: merged })
}

/// A file on its own was found right: what is wrong now has to do with what was set at runtime.
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
            // The very same that was applied before: what was made of it runs.
            Some(runs) if before.is_some_and(|before| before.is_same(wanted)) => {
                merged.push(Wanted::AsItRuns((*runs).clone()));
            }
            Some(runs) => {
                let before = before.map(|before| &**before);
                merged.push(Wanted::Anew(service(before, wanted, runs).into()));
            }
            // Removed at runtime, and the file did not change it.
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

fn manager(before: Option<&Manager>, wanted: &Manager, runs: &Manager) -> Manager {
    macro_rules! pick {
        ($field:ident) => {
            newer(before.map(|b| &b.$field), &wanted.$field, &runs.$field)
        };
    }
    Manager {
        enabled: pick!(enabled),
        interval: pick!(interval),
        refresh: pick!(refresh),
        sensitivity: pick!(sensitivity),
        smoothing: pick!(smoothing),
        report_timeout: pick!(report_timeout),
        proportions: pick!(proportions),
    }
}

/// Services by name: a file may have thousands.
fn by_name(services: &[Shared<ServiceConfig>]) -> HashMap<&str, &Shared<ServiceConfig>> {
    services.iter().map(|service| (service.name.as_str(), service)).collect()
}

fn service(
    before: Option<&ServiceConfig>,
    wanted: &ServiceConfig,
    runs: &Service,
) -> ServiceConfig {
    macro_rules! pick {
        ($field:ident) => {
            newer(before.map(|b| &b.$field), &wanted.$field, &runs.config.$field)
        };
    }
    let settings = ServiceSettings {
        name: wanted.name.clone(),
        vip: pick!(vip),
        port: pick!(port),
        protocol: pick!(protocol),
        scheduler: pick!(scheduler),
        forward: pick!(forward),
        stale_timeout: pick!(stale_timeout),
        syn_timeout: pick!(syn_timeout),
        fin_timeout: pick!(fin_timeout),
        fin_count: pick!(fin_count),
        on_down: pick!(on_down),
        measure: pick!(measure),
        weight_bound: pick!(weight_bound),
        proportions: pick!(proportions),
        slow_start: pick!(slow_start),
        affinity: pick!(affinity),
        advisor: pick!(advisor),
        agent: pick!(agent),
    };
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
    let address = newer(before.map(|b| &b.address), &wanted.address, &runs.address);
    if address != runs.address {
        // Another machine: nothing that was set for the old one is meant for it.
        return wanted.clone();
    }
    BackendConfig {
        name: wanted.name.clone(),
        address,
        mac: newer(before.map(|b| &b.mac), &wanted.mac, &runs.mac),
        weight: newer(before.map(|b| &b.weight), &wanted.weight, &runs.weight),
        fixed_weight: newer(
            before.map(|b| &b.fixed_weight),
            &wanted.fixed_weight,
            &runs.fixed_weight,
        ),
        sorry: newer(before.map(|b| &b.sorry), &wanted.sorry, &runs.sorry),
        local: newer(before.map(|b| &b.local), &wanted.local, &runs.local),
        max_connections: newer(
            before.map(|b| &b.max_connections),
            &wanted.max_connections,
            &runs.max_connections,
        ),
        sticky: newer(before.map(|b| &b.sticky), &wanted.sticky, &runs.sticky),
    }
}

/// The file's value where the file changed it, else the one that runs.
fn newer<T: Clone + PartialEq>(before: Option<&T>, wanted: &T, runs: &T) -> T {
    if before == Some(wanted) { runs.clone() } else { wanted.clone() }
}

#[cfg(test)]
mod tests;
