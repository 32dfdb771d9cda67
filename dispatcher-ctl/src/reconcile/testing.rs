//! Small values for the tests of this module, and random ones.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{Nic, edit::Edit, merge};
use crate::{
    api::types::{ApiError, PatchBackend, PatchService},
    config,
    model::{
        Backend, BackendConfig, Choice as _, Config, Mac, Protocol, Scheduler, Service,
        ServiceConfig, ServiceSettings, State,
    },
};

/// A TCP service without backends, with number 0.
pub(crate) fn service(name: &str, vip: &str, port: u16) -> Service {
    let vip: IpAddr = vip.parse().unwrap();
    let config = ServiceSettings::new(name.to_owned(), vip, port, Protocol::Tcp);
    Service { id: 0, config, backends: Vec::new(), rules: Vec::new() }
}

/// A backend that is up, in slot 0.
pub(crate) fn backend(name: &str, address: &str) -> Backend {
    let config = BackendConfig::new(name.to_owned(), address.parse().unwrap(), 20);
    Backend {
        slot: 0,
        config,
        weight_by_hand: false,
        managed: None,
        slow_start: None,
        quiesced: false,
        quiesce_deadline_ms: None,
        quiesced_now: false,
        down: false,
        advised_down: None,
        since_ms: 0,
    }
}

/// The configuration of a file's text.
pub(crate) fn file(text: &str) -> Config {
    config::parse(text, "lab.toml").unwrap()
}

/// The state after a first start with a file.
pub(crate) fn started(file: &Config) -> State {
    merge(None, file, &State::default(), &[], 1).unwrap()
}

/// An attached NIC.
pub(crate) fn nic(index: u8, name: &str, ifindex: u32) -> Nic {
    Nic { index, name: name.to_owned(), ifindex, mac: Mac([2, 0, 0, 0, 0xff, index]), mtu: 1500 }
}

/// A backend of a random file: whether it exists, which of two addresses it has, its weight.
type BackendSeed = (bool, bool, u32);
/// A service of a random file: whether it exists, which of two ports it has, whether it is `rr`, its backends.
type ServiceSeed = (bool, bool, bool, Vec<BackendSeed>);

/// Valid configurations that have much in common: three services of up to four backends.
pub(crate) fn any_config() -> impl Strategy<Value = Config> {
    let backend = (prop::bool::weighted(0.8), prop::bool::weighted(0.8), 0u32..4);
    let service = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.8),
        any::<bool>(),
        prop::collection::vec(backend, 4),
    );
    (prop::collection::vec(service, 3), prop::collection::vec(any::<bool>(), 3)).prop_map(
        |(services, nics)| {
            let nics = nics.iter().enumerate().filter(|(_, there)| **there);
            let mut config = Config::new(nics.map(|(i, _)| format!("eth{i}")).collect());
            let seeds = services.into_iter().enumerate().filter(|(_, seed)| seed.0);
            config.services = seeds.map(|(i, seed)| seeded_service(i, &seed).into()).collect();
            config
        },
    )
}

fn seeded_service(i: usize, (_, port, rr, backends): &ServiceSeed) -> ServiceConfig {
    let port = if *port { 80 } else { 81 };
    let settings = service(&format!("s{i}"), &format!("192.0.2.{i}"), port).config;
    let mut config = ServiceConfig::from(settings);
    config.scheduler = if *rr { Scheduler::Rr } else { Scheduler::Wrr };
    for (j, (there, first, weight)) in backends.iter().enumerate() {
        if *there {
            let machine = if *first { j } else { j + 100 };
            let mut backend = backend(&format!("b{j}"), &format!("10.0.{i}.{machine}")).config;
            backend.weight = *weight;
            config.backends.push(backend);
        }
    }
    config
}

/// A change at runtime, of the nth service and backend there are.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Weight(usize, usize, u32),
    Quiesce(usize, usize, bool),
    Up(usize, usize, bool),
    Scheduler(usize, Scheduler),
    AddService(u8),
    AddBackend(usize, u8),
    RemoveService(usize),
    RemoveBackend(usize, usize),
    Attach(u8),
    Detach(usize),
}

/// Sequences of changes at runtime.
pub(crate) fn any_acts() -> impl Strategy<Value = Vec<Act>> {
    let (s, b) = (0usize..4, 0usize..5);
    let act = prop_oneof![
        4 => (s.clone(), b.clone(), 0u32..=20).prop_map(|(s, b, w)| Act::Weight(s, b, w)),
        2 => (s.clone(), b.clone(), any::<bool>()).prop_map(|(s, b, q)| Act::Quiesce(s, b, q)),
        2 => (s.clone(), b.clone(), any::<bool>()).prop_map(|(s, b, u)| Act::Up(s, b, u)),
        1 => (s.clone(), prop::sample::select(Scheduler::ALL))
            .prop_map(|(s, scheduler)| Act::Scheduler(s, scheduler)),
        1 => (0u8..3).prop_map(Act::AddService),
        2 => (s.clone(), 0u8..3).prop_map(|(s, n)| Act::AddBackend(s, n)),
        1 => s.clone().prop_map(Act::RemoveService),
        2 => (s, b).prop_map(|(s, b)| Act::RemoveBackend(s, b)),
        1 => (0u8..3).prop_map(Act::Attach),
        1 => (0usize..3).prop_map(Act::Detach),
    ];
    prop::collection::vec(act, 0..12)
}

/// The state after changes at runtime; refused ones, and those without an object, have no effect.
pub(crate) fn after(state: &State, acts: &[Act]) -> State {
    let mut state = state.clone();
    for (now_ms, act) in (1000..).zip(acts) {
        if let Some(Ok(next)) = act.on(&Edit { state: &state, retired: &[], now_ms, rings: 0 }) {
            state = next;
        }
    }
    state
}

impl Act {
    fn on(&self, edit: &Edit<'_>) -> Option<Result<State, ApiError>> {
        let service = |s: usize| edit.state.services.get(s);
        let names = |s: usize, b: usize| {
            let service = service(s)?;
            Some((service.config.name.as_str(), service.backends.get(b)?.config.name.as_str()))
        };
        let patch = |at: Option<(&str, &str)>, patch: PatchBackend| {
            at.map(|(service, backend)| edit.patch_backend(service, backend, &patch))
        };
        match *self {
            Self::Weight(s, b, weight) => {
                patch(names(s, b), PatchBackend { weight: Some(weight), ..Default::default() })
            }
            Self::Quiesce(s, b, quiesced) => {
                patch(names(s, b), PatchBackend { quiesced: Some(quiesced), ..Default::default() })
            }
            Self::Up(s, b, up) => {
                patch(names(s, b), PatchBackend { up: Some(up), ..Default::default() })
            }
            Self::Scheduler(s, scheduler) => {
                let patch = PatchService { scheduler: Some(scheduler), ..Default::default() };
                Some(edit.patch_service(&service(s)?.config.name, &patch))
            }
            Self::AddService(n) => {
                let request = serde_json::json!({
                    "vip": format!("192.0.2.{}", 200 + n), "port": 1, "protocol": "udp"
                });
                let request = serde_json::from_value(request).unwrap();
                Some(edit.put_service(&format!("runtime-{n}"), &request, false))
            }
            Self::AddBackend(s, n) => {
                let request = serde_json::json!({ "address": format!("10.9.9.{n}") });
                let request = serde_json::from_value(request).unwrap();
                let service = &service(s)?.config.name;
                Some(edit.put_backend(service, &format!("runtime-{n}"), &request, false))
            }
            Self::RemoveService(s) => Some(edit.remove_service(&service(s)?.config.name)),
            Self::RemoveBackend(s, b) => {
                let (service, backend) = names(s, b)?;
                Some(edit.remove_backend(service, backend))
            }
            Self::Attach(n) => Some(edit.attach(&format!("wlan{n}"))),
            Self::Detach(n) => Some(edit.detach(edit.state.interfaces.get(n)?)),
        }
    }
}
