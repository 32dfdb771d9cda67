//! Changes at runtime, one at a time: each returns the new state, or why it is refused.
//!
//! Services are found by name or, if only one has it, by VIP, `VIP:port` or `VIP:port/protocol`; backends by name or
//! address. The functions that check a configuration file check the result.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::settle::{Wanted, settle};
use crate::{
    api::types::{
        ApiError, PatchBackend, PatchManager, PatchService, PutBackend, PutService, Seconds,
    },
    config::check,
    model::{
        Backend, BackendConfig, RetiredSlot, Rule, Service, ServiceConfig, ServiceSettings, State,
    },
};

/// What a change applies to.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// The running state.
    pub state: &'a State,
    /// Slots that must not be assigned.
    pub retired: &'a [RetiredSlot],
    /// The time, in milliseconds since the epoch.
    pub now_ms: u64,
    /// Slots of all schedules of the running state ([`check::ring_slots_in_force`]).
    pub rings: usize,
}

/// The service with this name or address.
///
/// # Errors
/// There is none, or there are several.
pub fn find_service<'s>(state: &'s State, wanted: &str) -> Result<&'s Service, ApiError> {
    if let Some(service) = state.service(wanted) {
        return Ok(service);
    }
    let is_meant: Box<dyn Fn(&ServiceSettings) -> bool> = if let Ok(vip) = wanted.parse::<IpAddr>()
    {
        Box::new(move |config| config.vip == vip)
    } else if let Ok(endpoint) = wanted.parse::<SocketAddr>() {
        Box::new(move |config| SocketAddr::new(config.vip, config.port) == endpoint)
    } else {
        Box::new(|config| config.endpoint() == wanted)
    };
    let all: Vec<&Service> = state.services.iter().map(|service| &**service).collect();
    let found: Vec<_> = all.iter().copied().filter(|s| is_meant(&s.config)).collect();
    match found.as_slice() {
        [service] => Ok(service),
        [] => Err(unknown(
            format!("service {} is unknown, expected a service's name or address", shown(wanted)),
            "services",
            &names(&all),
        )),
        several => {
            let names = names(several).join(", ");
            let message = format!("{wanted} is the address of several services, expected a name");
            Err(ApiError::conflict(message).hint(format!("one of {names}")))
        }
    }
}

/// The backend of a service with this name or address.
///
/// # Errors
/// There is none.
pub fn find_backend<'s>(service: &'s Service, wanted: &str) -> Result<&'s Backend, ApiError> {
    if let Some(backend) = service.backend(wanted) {
        return Ok(backend);
    }
    let address = wanted.parse::<IpAddr>().ok();
    let by_address = |b: &&Backend| Some(b.config.address) == address;
    service.backends.iter().find(by_address).ok_or_else(|| {
        let name = &service.config.name;
        let names: Vec<_> = service.backends.iter().map(|b| b.config.name.as_str()).collect();
        unknown(
            format!(
                "backend {name}/{} is unknown, expected a backend's name or address",
                shown(wanted)
            ),
            "backends",
            &names,
        )
    })
}

impl Edit<'_> {
    /// Adds a service. With `replace`, the settings of the service of that name are replaced; its backends and rules stay.
    ///
    /// # Errors
    /// It exists and must not be replaced, or a value is not valid.
    pub fn put_service(
        &self,
        name: &str,
        request: &PutService,
        replace: bool,
    ) -> Result<State, ApiError> {
        let before = self.state.services.iter().position(|s| s.config.name == name);
        let &PutService { vip, port, protocol, .. } = request;
        let mut settings = ServiceSettings::new(name.to_owned(), vip, port, protocol);
        request.apply(&mut settings);
        match before {
            Some(_) if !replace => Err(exists(format!("service {name}"), "service set")),
            Some(at) => self.change_service(at, |service| service.settings = settings),
            None => {
                let service = ServiceConfig::from(settings).into();
                self.change(|services| services.push(Wanted::Anew(service)))
            }
        }
    }

    /// Changes settings of a service.
    ///
    /// # Errors
    /// There is no such service, or a value is not valid.
    pub fn patch_service(&self, service: &str, request: &PatchService) -> Result<State, ApiError> {
        let at = self.position(find_service(self.state, service)?);
        self.change_service(at, |service| request.apply(service))
    }

    /// Removes a service with its backends.
    ///
    /// # Errors
    /// There is no such service, or another one's `cross_port` names it.
    pub fn remove_service(&self, service: &str) -> Result<State, ApiError> {
        let at = self.position(find_service(self.state, service)?);
        // Others may name it in their `cross_port`.
        self.change(|services| drop(services.remove(at)))
    }

    /// Adds a backend. With `replace`, the settings of the backend of that name are replaced.
    ///
    /// # Errors
    /// There is no such service, the backend exists and must not be replaced, or a value is not valid.
    pub fn put_backend(
        &self,
        service: &str,
        name: &str,
        request: &PutBackend,
        replace: bool,
    ) -> Result<State, ApiError> {
        let service = find_service(self.state, service)?;
        let bound = service.config.weight_bound;
        let mut backend = BackendConfig::new(name.to_owned(), request.address, bound);
        request.apply(&mut backend);
        let at = self.position(service);
        match service.backends.iter().position(|b| b.config.name == name) {
            Some(_) if !replace => {
                Err(exists(format!("backend {}/{name}", service.config.name), "backend set"))
            }
            Some(index) => self.change_service(at, |service| service.backends[index] = backend),
            None => self.change_service(at, |service| service.backends.push(backend)),
        }
    }

    /// Changes settings of a backend, quiesces it, or takes it up or down.
    ///
    /// # Errors
    /// There is no such service or backend, or a value is not valid.
    pub fn patch_backend(
        &self,
        service: &str,
        backend: &str,
        request: &PatchBackend,
    ) -> Result<State, ApiError> {
        let service = find_service(self.state, service)?;
        let backend = find_backend(service, backend)?;
        let at = self.position(service);
        let is_it = |b: &Backend| b.slot == backend.slot;
        let Some(index) = service.backends.iter().position(is_it) else {
            return Ok(self.state.clone());
        };
        let mut state = if request.address.is_none() && request.local.is_none() {
            self.change_backend(at, index, request)?
        } else {
            self.change_service(at, |service| request.apply(&mut service.backends[index]))?
        };
        let changed = &mut state.services[at].backends[index];
        if let Some(is_fixed) = request.fixed_weight {
            changed.weight_by_hand &= is_fixed;
        }
        if request.weight.is_some() {
            // A weight by hand is fixed, until the manager is allowed to continue from there.
            changed.weight_by_hand = request.fixed_weight != Some(false);
            changed.managed = None;
        }
        let quiesced = self.quiesce(changed, request)?;
        let down = request.up.map_or(changed.down, |up| !up);
        if (quiesced, down) != (changed.quiesced, changed.down) {
            (changed.quiesced, changed.down) = (quiesced, down);
            changed.since_ms = self.now_ms;
        }
        Ok(state)
    }

    /// Quiesces a backend, or ends that; returns whether it is quiesced.
    fn quiesce(&self, backend: &mut Backend, request: &PatchBackend) -> Result<bool, ApiError> {
        let Some(quiesced) = request.quiesced else {
            if request.now.is_some() {
                return Err(ApiError::invalid("now says how to quiesce, expected quiesced true"));
            }
            if request.deadline.is_some() {
                return Err(ApiError::invalid("deadline is for quiesce, expected quiesced true"));
            }
            return Ok(backend.quiesced);
        };
        let deadline = request.deadline.map(|Seconds(after)| after);
        if deadline.is_some() && !quiesced {
            return Err(ApiError::invalid("deadline is for quiesce, expected quiesced true"));
        }
        if deadline.is_some_and(|after| after.is_zero()) {
            return Err(ApiError::invalid("deadline 0 is not valid, expected more than 0 s"));
        }
        // A new request replaces the former deadline, even if it has none.
        let ms = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        backend.quiesce_deadline_ms = deadline.map(|after| self.now_ms.saturating_add(ms(after)));
        backend.quiesced_now = quiesced && request.now.unwrap_or(false);
        Ok(quiesced)
    }

    /// Removes a backend.
    ///
    /// # Errors
    /// There is no such service or backend, or a rule names it.
    pub fn remove_backend(&self, service: &str, backend: &str) -> Result<State, ApiError> {
        let service = find_service(self.state, service)?;
        let Backend { slot, config, .. } = find_backend(service, backend)?;
        let names_it = |rule: &&Rule| rule.config.backends.contains(&config.name);
        if let Some(rule) = service.rules.iter().find(names_it) {
            let (service, rule) = (&service.config.name, &rule.config.name);
            let message = format!("backend {service}/{} is named by rule {rule}", config.name);
            let hint = "quiesce it, or take it out of the rule in the file and reload";
            return Err(ApiError::conflict(message).hint(hint));
        }
        let slot = *slot;
        let at = self.position(service);
        let mut state = self.state.clone();
        state.services[at].backends.retain(|backend| backend.slot != slot);
        Ok(state)
    }

    /// Changes settings of the manager.
    ///
    /// # Errors
    /// A value is not valid.
    pub fn patch_manager(&self, request: &PatchManager) -> Result<State, ApiError> {
        let mut state = self.state.clone();
        request.apply(&mut state.manager);
        check::manager(&state.manager)?;
        Ok(state)
    }

    /// Adds a NIC; nothing changes if it is attached already.
    ///
    /// # Errors
    /// The name is not valid, or there are too many.
    pub fn attach(&self, interface: &str) -> Result<State, ApiError> {
        let mut state = self.state.clone();
        if !state.interfaces.iter().any(|name| name == interface) {
            state.interfaces.push(interface.to_owned());
            check::interfaces(&state.interfaces)?;
        }
        Ok(state)
    }

    /// Removes a NIC.
    ///
    /// # Errors
    /// It is not attached.
    pub fn detach(&self, interface: &str) -> Result<State, ApiError> {
        let mut state = self.state.clone();
        state.interfaces.retain(|name| name != interface);
        if state.interfaces.len() == self.state.interfaces.len() {
            let names: Vec<_> = self.state.interfaces.iter().map(String::as_str).collect();
            let message = format!("interface {interface:?} is not attached");
            return Err(unknown(message, "NICs", &names));
        }
        Ok(state)
    }

    /// Changes the description of a service, and settles the result.
    fn change_service(
        &self,
        at: usize,
        edit: impl FnOnce(&mut ServiceConfig),
    ) -> Result<State, ApiError> {
        self.change(|services| services[at].change(edit))
    }

    /// Changes the list of services, and settles the result.
    fn change(&self, edit: impl FnOnce(&mut Vec<Wanted>)) -> Result<State, ApiError> {
        let mut services: Vec<_> =
            self.state.services.iter().map(|s| Wanted::AsItRuns(s.clone())).collect();
        edit(&mut services);
        let services = settle(services, self.state, self.retired, self.now_ms)?;
        let State { interfaces, manager, .. } = self.state;
        Ok(State { interfaces: interfaces.clone(), manager: *manager, services })
    }

    /// Changes a backend that keeps its address: nothing else must be checked, however many services there are.
    fn change_backend(
        &self,
        at: usize,
        index: usize,
        request: &PatchBackend,
    ) -> Result<State, ApiError> {
        let mut state = self.state.clone();
        let backend = &mut state.services[at].backends[index];
        let weight = backend.config.weight;
        request.apply(&mut backend.config);
        if backend.config.weight != weight {
            (backend.weight_by_hand, backend.managed) = (false, None);
        }
        let [was, is] = [self.state, &state].map(|s| check::ring_slots_in_force(&s.services[at]));
        check::backends_of(&state.services[at], (self.rings + is).saturating_sub(was))?;
        Ok(state)
    }

    /// The place of a service in the state.
    fn position(&self, service: &Service) -> usize {
        self.state.services.iter().take_while(|s| s.id != service.id).count()
    }
}

fn names<'s>(services: &[&'s Service]) -> Vec<&'s str> {
    services.iter().map(|service| service.config.name.as_str()).collect()
}

/// A name or address as messages show it.
fn shown(wanted: &str) -> String {
    let is_endpoint = wanted.parse::<SocketAddr>().is_ok() || wanted.parse::<IpAddr>().is_ok();
    if is_endpoint { wanted.to_owned() } else { check::shown(wanted) }
}

fn exists(object: String, verb: &str) -> ApiError {
    ApiError::conflict(format!("{object} is there already, expected a new name"))
        .hint(format!("{verb} changes an existing one"))
}

fn unknown(message: String, what: &str, names: &[&str]) -> ApiError {
    const MOST: usize = 10;
    let more = if names.len() > MOST { ", …" } else { "" };
    let listed = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    ApiError::not_found(message).hint(match names {
        [] => format!("there are no {what}"),
        _ => format!("{what}: {listed}{more}"),
    })
}

#[cfg(test)]
mod tests;
