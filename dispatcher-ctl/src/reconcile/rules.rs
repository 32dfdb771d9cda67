//! Rules: what the datapath must know of them, and which of them hold as far as only the controller can tell.
//!
//! What a packet tells (client, port, TOS) is left to the datapath. Time of day, rates and counts are looked at here, once a
//! second and with every change: [`active`] says what is to be written.

use std::collections::BTreeMap;

use dispatcher_common::{
    net::address,
    rule::{Condition, halves},
};

use crate::{
    dataplane::tables::{RuleTable, ServiceTable},
    model::{Day, Evaluate, Rule, RuleConfig, Service, Share, State, TimeRange},
    schedule::{self, Taker},
};

/// Day of the week and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Day.
    pub day: Day,
    /// Seconds since midnight.
    pub second: u32,
}

/// What a backend did per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Connections placed on it.
    pub connections: f64,
    /// Bytes its clients acknowledged; 0 where that is not measured.
    pub delivered: f64,
}

/// What is known of backends, by slot.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    /// Over the last second; none before there is one.
    pub rates: Option<&'a BTreeMap<u32, Rate>>,
    /// Active connections.
    pub active: &'a dyn Fn(u32) -> u64,
}

/// Fills in the conditions of a service, and its rules: before anything is known, those hold that need nothing else.
pub(super) fn rules(
    service: &Service,
    takers: &[Taker],
    table: &mut ServiceTable,
    tables: &mut BTreeMap<u32, RuleTable>,
) {
    let mut ordered: Vec<&Rule> = service.rules.iter().collect();
    ordered.sort_by_key(|rule| rule.config.priority);
    for Rule { id, config } in ordered {
        table.conditions.extend(conditions(*id, config));
        let slots: Vec<u32> = service.of_rule(config).map(|backend| backend.slot).collect();
        let chosen = takers.iter().filter(|taker| slots.contains(&taker.slot.into()));
        let chosen: Vec<Taker> = chosen.copied().collect();
        let schedule = schedule::schedule(service.config.scheduler, &chosen, slots.len());
        let active = !config.is_switched();
        tables.insert(*id, RuleTable { service: service.id, active, schedule });
    }
}

fn conditions(id: u32, config: &RuleConfig) -> Vec<Condition> {
    let mut any = Condition::any(id);
    if let Some(ports) = config.client_ports {
        any.ports = u32::from(ports.first) | u32::from(ports.last) << 16;
    }
    if let Some(tos) = config.tos {
        any.tos = u32::from(tos.value) | u32::from(tos.mask) << 8;
    }
    if config.clients.is_empty() {
        return vec![any];
    }
    let clients = config.clients.iter();
    clients
        .map(|range| {
            let (first, last) = (halves(address(range.first)), halves(address(range.last)));
            Condition { first, last, ..any }
        })
        .collect()
}

/// Which rules hold as far as a packet does not tell, by id; of one whose rates are not known yet nothing is said.
#[must_use]
pub fn active(state: &State, now: LocalTime, measured: Measured<'_>) -> BTreeMap<u32, bool> {
    let mut active = BTreeMap::new();
    for service in &state.services {
        for rule in &service.rules {
            if let Some(holds) = holds(state, service, &rule.config, now, measured) {
                active.insert(rule.id, holds);
            }
        }
    }
    active
}

fn holds(
    state: &State,
    service: &Service,
    rule: &RuleConfig,
    now: LocalTime,
    measured: Measured<'_>,
) -> Option<bool> {
    if !is_time(rule, now) {
        return Some(false);
    }
    let of_service: Vec<u32> = service.backends.iter().map(|backend| backend.slot).collect();
    let slots = match rule.evaluate {
        Evaluate::Service => of_service,
        Evaluate::Rule => service.of_rule(rule).map(|backend| backend.slot).collect(),
    };
    let connections: u64 = slots.iter().map(|slot| (measured.active)(*slot)).sum();
    let (min, max) = (rule.min_active_connections, rule.max_active_connections);
    if !is_within(connections as f64, min, max) {
        return Some(false);
    }
    if !rule.has_rates() {
        return Some(true);
    }
    let rates = measured.rates?;
    let rate = |slot: &u32| rates.get(slot).copied().unwrap_or_default();
    let new: f64 = slots.iter().map(|slot| rate(slot).connections).sum();
    let delivered: f64 = slots.iter().map(|slot| rate(slot).delivered).sum();
    let shared = shared(state, service, rule.share);
    let shared: f64 = shared.iter().map(|slot| rate(slot).delivered).sum();
    Some(
        is_within(new, rule.min_new_connections, rule.max_new_connections)
            && is_within(delivered, rule.min_bandwidth, rule.max_bandwidth)
            // What is used up leaves nothing to be shared.
            && rule.shared_bandwidth.is_none_or(|most| shared < most as f64),
    )
}

fn is_time(rule: &RuleConfig, now: LocalTime) -> bool {
    let began_yesterday = match rule.time.unwrap_or(TimeRange::WHOLE_DAY).holds(now.second) {
        Some(began_yesterday) => began_yesterday,
        None => return false,
    };
    let began = if began_yesterday { now.day.before() } else { now.day };
    rule.days.is_empty() || rule.days.contains(&began)
}

fn is_within(value: f64, min: Option<u64>, max: Option<u64>) -> bool {
    min.is_none_or(|min| value >= min as f64) && max.is_none_or(|max| value <= max as f64)
}

/// Slots of the services that share a bandwidth with this one.
fn shared(state: &State, service: &Service, share: Share) -> Vec<u32> {
    let shares = |other: &&Service| match share {
        Share::All => true,
        Share::Vip => other.config.vip == service.config.vip,
    };
    let services = state.services.iter().filter(shares);
    services.flat_map(|service| &service.backends).map(|backend| backend.slot).collect()
}
