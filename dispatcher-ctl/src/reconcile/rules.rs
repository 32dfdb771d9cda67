//! Rules: their form in the datapath, and which of them are on.
//!
//! The datapath checks what a packet shows (client, port, TOS). The controller checks time of day, rates and counts, once a
//! second and with every change: [`active`] says which rules are on.

use std::collections::{BTreeMap, HashSet};

use dispatcher_common::{
    net::address,
    rule::{Condition, halves},
};

use crate::{
    datapath::tables::{RuleTable, ServiceTable},
    model::{Day, Evaluate, Rule, RuleConfig, Service, Share, State, TimeRange},
    schedule::{Schedules, Taker},
};

/// Day of the week and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Day.
    pub day: Day,
    /// Seconds since midnight.
    pub second: u32,
}

/// A backend's rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Connections placed on it.
    pub connections: f64,
    /// Bytes that its clients acknowledged; 0 if that is not measured.
    pub delivered: f64,
}

/// What is known about backends, by slot.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    /// Over the last second; `None` in the first one.
    pub rates: Option<&'a BTreeMap<u32, Rate>>,
    /// Active connections.
    pub active: &'a dyn Fn(u32) -> u64,
}

/// Fills in the conditions of a service, and its rules. Initially those rules are on that depend only on packets.
pub(super) fn rules(
    service: &Service,
    takers: &[Taker],
    schedules: &mut Schedules,
    table: &mut ServiceTable,
    tables: &mut BTreeMap<u32, RuleTable>,
) {
    let mut ordered: Vec<&Rule> = service.rules.iter().collect();
    ordered.sort_by_key(|rule| rule.config.priority);
    for Rule { id, config } in ordered {
        table.conditions.extend(conditions(*id, config));
        let slots: HashSet<u32> = service.of_rule(config).map(|backend| backend.slot).collect();
        let chosen = takers.iter().filter(|taker| slots.contains(&taker.slot.into()));
        let chosen: Vec<Taker> = chosen.copied().collect();
        let schedule = schedules.get(service.config.scheduler, &chosen, slots.len());
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

/// Which rules are on apart from their conditions on packets, by id; without rules whose rates are not known yet.
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
    if !rule.is_measured() {
        return Some(true);
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
            // If the bandwidth is used up, nothing can be shared.
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
    let services = state.services.iter().map(|service| &**service).filter(shares);
    services.flat_map(|service| &service.backends).map(|backend| backend.slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Backend, Config, Mac, Scheduler},
        network::Resolution,
        reconcile::testing::{backend, nic, service},
    };

    /// Two services of one VIP and one of another, each with backends in these slots; rules are the first one's.
    fn state(rules: Vec<RuleConfig>) -> State {
        let with = |name: &str, vip: &str, port, slots: &[u32]| {
            let mut service = service(name, vip, port);
            service.id = slots[0];
            service.backends = slots
                .iter()
                .map(|slot| Backend {
                    slot: *slot,
                    ..backend(&format!("b{slot}"), &format!("10.0.0.{slot}"))
                })
                .collect();
            service
        };
        let mut services = vec![
            with("web", "192.0.2.80", 80, &[1, 2, 3]),
            with("shop", "192.0.2.80", 8080, &[4]),
            with("mail", "192.0.2.25", 25, &[5]),
        ];
        services[0].rules = (10..).zip(rules).map(|(id, config)| Rule { id, config }).collect();
        let services = services.into_iter().map(Into::into).collect();
        State { services, ..State::default() }
    }

    /// A rule for the second backend.
    fn rule() -> RuleConfig {
        RuleConfig { backends: vec!["b2".to_owned()], ..RuleConfig::default() }
    }

    /// Monday, noon.
    const NOON: LocalTime = LocalTime { day: Day::Mon, second: 12 * 3600 };

    /// What is said of one rule: slot n has n active connections, n new ones and 100·n delivered bytes a second.
    fn said(rule: RuleConfig, now: LocalTime, known: bool) -> Option<bool> {
        let rate =
            |slot: u32| Rate { connections: f64::from(slot), delivered: f64::from(slot) * 100.0 };
        let rates = (1..=5).map(|slot| (slot, rate(slot))).collect();
        let rates = known.then_some(&rates);
        let measured = Measured { rates, active: &|slot| u64::from(slot) };
        active(&state(vec![rule]), now, measured).get(&10).copied()
    }

    #[test]
    fn time_and_days_are_those_of_the_beginning() {
        let at = |rule: &RuleConfig, day, hour: u32| {
            said(rule.clone(), LocalTime { day, second: hour * 3600 }, false)
        };
        let night = RuleConfig {
            time: Some("22:00-06:00".parse().unwrap()),
            days: vec![Day::Sun],
            ..rule()
        };
        assert_eq!(at(&night, Day::Sun, 23), Some(true));
        assert_eq!(at(&night, Day::Mon, 5), Some(true), "it began on Sunday");
        assert_eq!(at(&night, Day::Mon, 23), Some(false));
        assert_eq!(at(&night, Day::Sun, 5), Some(false), "it began on Saturday");
        let days = RuleConfig { days: vec![Day::Mon], ..rule() };
        assert_eq!((at(&days, Day::Mon, 0), at(&days, Day::Tue, 0)), (Some(true), Some(false)));
    }

    #[test]
    fn counts_and_rates_are_taken_over_the_service_or_the_rule() {
        let holds = |rule: RuleConfig| said(rule, NOON, true).unwrap();
        let (of_rule, most) = (Evaluate::Rule, |most| Some(most));
        for (most_allowed, service_wide, rule_wide) in
            [(6, true, true), (5, false, true), (1, false, false)]
        {
            let max = most(most_allowed);
            let active = RuleConfig { max_active_connections: max, ..rule() };
            let new = RuleConfig { max_new_connections: max, ..rule() };
            let bandwidth = RuleConfig { max_bandwidth: max.map(|max| max * 100), ..rule() };
            for rule in [active, new, bandwidth] {
                assert_eq!(holds(rule.clone()), service_wide, "{rule:?}");
                assert_eq!(holds(RuleConfig { evaluate: of_rule, ..rule }), rule_wide);
            }
        }
        assert!(holds(RuleConfig { min_new_connections: Some(6), ..rule() }));
        assert!(!holds(RuleConfig { min_new_connections: Some(7), ..rule() }));
    }

    #[test]
    fn a_share_is_left_while_those_who_have_it_deliver_less() {
        let holds = |share, most| {
            let rule = RuleConfig { shared_bandwidth: Some(most), share, ..rule() };
            said(rule, NOON, true).unwrap()
        };
        // 600 of this service, 400 of the VIP's other one, 500 of another VIP's.
        assert_eq!((holds(Share::All, 1501), holds(Share::All, 1500)), (true, false));
        assert_eq!((holds(Share::Vip, 1001), holds(Share::Vip, 1000)), (true, false));
    }

    #[test]
    fn before_a_second_has_passed_nothing_is_said_of_rates() {
        let busy = RuleConfig { max_new_connections: Some(0), ..rule() };
        assert_eq!(said(busy.clone(), NOON, false), None);
        assert_eq!(said(busy, NOON, true), Some(false));
        let early = RuleConfig {
            max_new_connections: Some(0),
            time: Some("08:00-09:00".parse().unwrap()),
            ..rule()
        };
        assert_eq!(said(early, NOON, false), Some(false), "the time alone says no");
    }

    #[test]
    fn conditions_come_in_the_order_of_priorities_and_rings_have_the_rules_backends() {
        let first = RuleConfig {
            priority: 1,
            backends: vec!["b3".to_owned(), "b1".to_owned()],
            clients: ["198.51.100.0/24", "203.0.113.7"].map(|text| text.parse().unwrap()).into(),
            client_ports: Some("1024-2047".parse().unwrap()),
            tos: Some("0xb8/0xfc".parse().unwrap()),
            ..RuleConfig::default()
        };
        let last = RuleConfig { priority: 9, time: Some("08:00-09:00".parse().unwrap()), ..rule() };
        let mut state = state(vec![last, first]);
        state.services[0].config.scheduler = Scheduler::Rr;
        state.services[0].backends[0].quiesced = true;
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let tables = crate::reconcile::tables(
            &state,
            &crate::reconcile::Dirty::All,
            &Config::new(Vec::new()).connections,
            &[nic(0, "eth0", 10)],
            &|_| Resolution::Resolved { ifindex: 10, mac },
            &mut Schedules::default(),
        );
        let [net, one, all] = tables.services[&1].conditions[..] else {
            panic!("three conditions")
        };
        assert_eq!([net.rule, one.rule, all.rule], [11, 11, 10]);
        assert_eq!((net.ports, net.tos), (1024 | 2047 << 16, 0xfcb8));
        assert_eq!(net.first, halves(address("198.51.100.0".parse().unwrap())));
        assert_eq!(net.last, halves(address("198.51.100.255".parse().unwrap())));
        assert_eq!(one.first, one.last);
        assert_eq!(all, Condition::any(10));
        let (first, last) = (&tables.rules[&11], &tables.rules[&10]);
        assert_eq!((&first.schedule.ring[..], first.active, first.service), (&[3][..], true, 1));
        assert_eq!((&last.schedule.ring[..], last.active), (&[2][..], false));
    }
}
