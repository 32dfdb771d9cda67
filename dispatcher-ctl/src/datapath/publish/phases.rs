//! The order in which a difference is written. Pure: each phase compares the actual contents of maps with the wanted ones.
//!
//! Packets flow meanwhile, and the controller may die between any two writes. After every write, this is true:
//!
//! - a schedule names only slots that belong to its service and take new connections;
//! - a service that a key leads to has its policy, and a key leads to its old service or to its new one;
//! - a slot changes its service only while it belongs to none;
//! - a peer is a slot of the requested service;
//! - the conditions of a service lead to existing rules, and not to backends of another service;
//! - while packets may match services on any address, the host's own addresses are known as such;
//! - a packet is sent out only by an interface whose device is the one its record names.
//!
//! So targets are written before what points to them, and removed after it: settings, the memory of measurement and
//! interfaces; keys whose service id is given to another service; schedules that hold a slot which changes hands; peers not
//! wanted; backends that gain; peers; policies; schedules, each into free space and then swapped by one word; rules and
//! their schedules, then conditions, swapped as schedules are; the host's own addresses; keys; VIPs; that there are services
//! on any address; filter bits. Then what is not wanted any more: services on any address; keys; VIPs and own addresses;
//! filter bits; policies of services without a key; rules that no condition leads to; backends that lose; the memory of
//! measurement; interfaces.

use std::collections::BTreeSet;

use dispatcher_common::{
    backend::{BackendValue, Forward, InterfaceValue, NEW, PRESENT},
    net::Address,
    rule::Condition,
    service::{OWN, Policy},
    settings::Settings,
};

use super::{
    contents::Contents,
    rules,
    wanted::{Holder, Wanted},
    write::{Array, Write, key_bytes},
};
use crate::{
    datapath::{
        mapped::word_of,
        tables::{BackendTable, InterfaceTable, RuleTable, ServiceTable, Tables},
    },
    schedule::ScheduleTable,
};

/// Computes the writes of one phase.
type Phase = fn(&Contents, &Wanted<'_>) -> Vec<Write>;
/// Computes the schedules of one phase, by whose they are.
type SchedulePhase = fn(&Contents, &Wanted<'_>) -> Vec<(Holder, ScheduleTable)>;
/// Computes the conditions of one phase, by service.
type ConditionPhase = fn(&Contents, &Wanted<'_>) -> Vec<(u32, Vec<Condition>)>;

/// The phases, in order.
///
/// Phases of `Scope::Services` look only at the services in the tables, with their backends and rules. The others would do
/// nothing if the tables are partial and their services in force ([`are_in_force`]), and are skipped then.
pub(super) const PHASES: [(&str, Scope, Step); 27] = [
    ("settings", ALL, Step::Writes(settings)),
    ("memory of measurement", ALL, Step::Writes(measuring)),
    ("interfaces", ALL, Step::Writes(interfaces)),
    ("keys whose id is given away", ALL, Step::Writes(given_away)),
    ("schedules with slots given away", ALL, Step::Schedules(vacated)),
    ("peers not wanted", ALL, Step::Writes(peers_unwanted)),
    ("backends that gain", SERVICES, Step::Writes(gaining)),
    ("peers", ALL, Step::Writes(peers)),
    ("policies", SERVICES, Step::Writes(policies)),
    ("schedules", SERVICES, Step::Schedules(schedules)),
    ("rules", SERVICES, Step::Writes(rules::gaining)),
    ("schedules of rules", SERVICES, Step::Schedules(rules::schedules)),
    ("conditions", SERVICES, Step::Conditions(rules::conditions)),
    ("own addresses", ALL, Step::Writes(own_addresses)),
    ("keys", ALL, Step::Writes(keys)),
    ("vips", ALL, Step::Writes(vips)),
    ("wildcards", ALL, Step::Writes(wildcards_set)),
    ("filter bits", ALL, Step::Writes(filter_set)),
    ("wildcards not wanted", ALL, Step::Writes(wildcards_cleared)),
    ("keys not wanted", ALL, Step::Writes(keys_unwanted)),
    ("vips not wanted", ALL, Step::Writes(vips_unwanted)),
    ("filter bits not wanted", ALL, Step::Writes(filter_cleared)),
    ("policies not wanted", ALL, Step::Writes(policies_unwanted)),
    ("rules not wanted", ALL, Step::Writes(rules::unwanted)),
    ("backends that lose", SERVICES, Step::Writes(losing)),
    ("memory of measurement not wanted", ALL, Step::Writes(measuring_unwanted)),
    ("interfaces not wanted", ALL, Step::Writes(interfaces_unwanted)),
];

const ALL: Scope = Scope::All;
const SERVICES: Scope = Scope::Services;

/// What a phase compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All contents of the maps.
    All,
    /// The services in the tables.
    Services,
}

/// Whether the services of these tables are in force under their keys, with exactly these backends and rules.
pub(super) fn are_in_force(now: &Contents, tables: &Tables) -> bool {
    let has_key = |(id, service): (&u32, &ServiceTable)| {
        now.services.get(&key_bytes(&service.key)) == Some(id)
            && now.conditions(now.rule_set(*id)) == service.conditions
    };
    let has_slot = |(slot, backend): (&u32, &BackendTable)| {
        let held = now.backends.get(*slot as usize);
        held.is_some_and(|held| held.forward != 0 && held.service == backend.service)
    };
    let has_rule = |(rule, table): (&u32, &RuleTable)| {
        let held = now.rules.get(*rule as usize);
        held.is_some_and(|held| held.owner == u64::from(table.service) + 1)
    };
    let is_taker = |slot: &u16| tables.backends.contains_key(&u32::from(*slot));
    // A backend that takes new connections but is not in the tables would leave the schedule and keep its flags.
    let has_all = |id: &u32| now.members(now.schedule(*id)).iter().all(is_taker);
    tables.services.iter().all(has_key)
        && tables.backends.iter().all(has_slot)
        && tables.rules.iter().all(has_rule)
        && tables.services.keys().all(has_all)
}

/// The result of a phase.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Writes.
    Writes(Phase),
    /// Schedules, each written into free space and then swapped in by one word.
    Schedules(SchedulePhase),
    /// Conditions by service, swapped in the same way.
    Conditions(ConditionPhase),
}

fn settings(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let Tables { expiry_ticks, syn_guard, .. } = *wanted.tables;
    let settings = Settings { expiry_ticks, syn_guard, ..now.settings };
    Array::Settings.difference(0, &now.settings, &settings)
}

fn is_measured(wanted: &Wanted<'_>) -> bool {
    wanted.tables.backends.values().any(|backend| backend.forward.is_measured())
}

fn measuring(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let is_missing = !now.is_measuring && is_measured(wanted);
    if is_missing { vec![Write::Measuring { on: true }] } else { Vec::new() }
}

fn measuring_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let is_idle = now.is_measuring && !is_measured(wanted);
    if is_idle { vec![Write::Measuring { on: false }] } else { Vec::new() }
}

fn interface_value(interface: &InterfaceTable) -> InterfaceValue {
    let InterfaceTable { mac, ifindex, mtu } = *interface;
    // The flag 1: in use.
    InterfaceValue { mac: Forward::new(mac, 0, 1).0, ifindex, mtu }
}

/// The MAC word of an interface; 0: it is not in use.
const fn interface_mac(index: u8, mac: u64) -> Write {
    Array::Interfaces.store(index as u32, word_of!(InterfaceValue, mac), mac)
}

fn interfaces(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&index, interface) in &wanted.tables.interfaces {
        let (held, value) = (&now.interfaces[index as usize], interface_value(interface));
        let has_device = now.devices.get(&index) == Some(&value.ifindex);
        if has_device && held.ifindex == value.ifindex {
            writes.extend(Array::Interfaces.difference(index.into(), held, &value));
            continue;
        }
        // Another NIC gets the index, or the kernel dropped the device: out of use until everything is written.
        if held.mac != 0 {
            writes.push(interface_mac(index, 0));
        }
        writes.push(Write::Device { index, ifindex: Some(value.ifindex) });
        let unused = InterfaceValue { mac: 0, ..*held };
        let device = InterfaceValue { mac: 0, ..value };
        writes.extend(Array::Interfaces.difference(index.into(), &unused, &device));
        writes.push(interface_mac(index, value.mac));
    }
    writes
}

fn given_away(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let leads_to_another = |key: &[u8; 20], id: &u32| {
        let service = wanted.tables.services.get(id);
        service.is_some_and(|service| key_bytes(&service.key) != *key)
    };
    let keys = now.services.iter().filter(|(key, id)| leads_to_another(key, id));
    keys.map(|(key, _)| Write::Service { key: *key, service: None }).collect()
}

fn vacated(now: &Contents, wanted: &Wanted<'_>) -> Vec<(Holder, ScheduleTable)> {
    let given_away = wanted.given_away(now);
    if given_away.is_empty() {
        return Vec::new();
    }
    let mut schedules = Vec::new();
    let of_services = (0..).map(Holder::Service).zip(now.all_schedules());
    let of_rules = (0..).map(Holder::Rule).zip(now.rule_schedules());
    for (holder, schedule) in of_services.chain(of_rules) {
        if now.members(schedule).iter().any(|slot| given_away.contains(slot)) {
            schedules.push((holder, now.table(schedule).without(&given_away)));
        }
    }
    schedules
}

const fn forward(slot: u32, word: u64) -> Write {
    Array::Backends.store(slot, word_of!(BackendValue, forward), word)
}

fn gaining(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&slot, backend) in &wanted.tables.backends {
        let (held, word) = (&now.backends[slot as usize], backend.forward);
        let owner = BackendValue { service: backend.service, share: backend.share.0, ..*held };
        let owned = Array::Backends.difference(slot, held, &owner);
        if held.forward == 0 || held.service != backend.service {
            if held.forward != 0 {
                writes.push(forward(slot, 0));
            }
            writes.extend(owned);
            writes.push(Write::ResetSlot { slot });
            writes.push(forward(slot, word.0));
            continue;
        }
        writes.extend(owned);
        if held.forward != word.0 && !loses(Forward(held.forward), word) {
            writes.push(forward(slot, word.0));
        }
    }
    writes
}

fn peers(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let missing = wanted.tables.peers.iter().filter(|(key, peer)| now.peers.get(key) != Some(peer));
    missing
        .map(|(&(service, slot), peer)| Write::Peer { service, slot, peer: Some(*peer) })
        .collect()
}

/// Also removes peers that change to another slot: no slot may change its service while a peer points to it.
fn peers_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let differs = |(key, peer): &(&(u32, u32), &u32)| wanted.tables.peers.get(key) != Some(*peer);
    let unwanted = now.peers.iter().filter(differs);
    unwanted.map(|(&(service, slot), _)| Write::Peer { service, slot, peer: None }).collect()
}

/// Whether schedules must drop the slot before its word is written.
const fn loses(held: Forward, wanted: Forward) -> bool {
    held.flags() & !wanted.flags() & (NEW | PRESENT) != 0
}

fn policies(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&id, service) in &wanted.tables.services {
        let held = &now.policies[id as usize];
        // No other key leads to it any more.
        if now.services.get(&key_bytes(&service.key)) != Some(&id) {
            writes.push(Write::ResetService { service: id });
        }
        let ServiceTable { choices, stale_ticks, local, .. } = *service;
        // Affinity depends on all services together.
        let affinity = if wanted.tables.is_partial { held.affinity } else { service.affinity };
        let policy = Policy { choices, stale_ticks, affinity, local, ..*held };
        writes.extend(Array::Policies.difference(id, held, &policy));
    }
    writes
}

fn schedules(now: &Contents, wanted: &Wanted<'_>) -> Vec<(Holder, ScheduleTable)> {
    let services = wanted.tables.services.iter();
    let changed =
        services.filter(|(id, service)| !now.is_at(now.schedule(**id), &service.schedule));
    changed.map(|(id, service)| (Holder::Service(*id), service.schedule.clone())).collect()
}

fn keys(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let changed = wanted.keys.iter().filter(|(key, id)| now.services.get(*key) != Some(id));
    changed.map(|(key, id)| Write::Service { key: *key, service: Some(*id) }).collect()
}

/// A VIP that becomes a mere address of the host stays a VIP until its keys are removed.
fn own_addresses(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let own = wanted.vips.iter().filter(|(_, count)| **count == OWN).map(|(vip, _)| vip);
    let mut missing = own.filter(|vip| now.vips.get(*vip) != Some(&OWN)).peekable();
    if missing.peek().is_none() {
        return Vec::new();
    }
    let led_to: BTreeSet<&[u8]> =
        now.services.keys().map(|key| &key[..size_of::<Address>()]).collect();
    let missing = missing.filter(|vip| !now.vips.contains_key(*vip) || !led_to.contains(&vip[..]));
    missing.map(|vip| Write::Vip { vip: *vip, services: OWN }).collect()
}

fn wildcards_set(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    wildcards(now, now.settings.wildcards | wanted.wildcards)
}

fn wildcards_cleared(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    wildcards(now, wanted.wildcards)
}

fn wildcards(now: &Contents, families: u64) -> Vec<Write> {
    let settings = Settings { wildcards: families, ..now.settings };
    Array::Settings.difference(0, &now.settings, &settings)
}

fn vips(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let vips = wanted.vips.iter().filter(|(_, count)| **count != OWN);
    let changed = vips.filter(|(vip, count)| now.vips.get(*vip) != Some(count));
    changed.map(|(vip, services)| Write::Vip { vip: *vip, services: *services }).collect()
}

const fn filter(word: usize, bits: u64) -> Write {
    Array::AddressFilter.store(0, word, bits)
}

fn filter_set(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let missing = wanted.filter.iter().filter(|(word, bits)| *bits & !now.filter[**word] != 0);
    missing.map(|(&word, bits)| filter(word, bits | now.filter[word])).collect()
}

fn keys_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let unwanted = now.services.keys().filter(|key| !wanted.keys.contains_key(*key));
    unwanted.map(|key| Write::Service { key: *key, service: None }).collect()
}

fn vips_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let services = |vip| wanted.vips.get(vip).copied().unwrap_or_default();
    let unwanted = now.vips.iter().filter(|(vip, count)| **count != services(*vip));
    unwanted.map(|(vip, _)| Write::Vip { vip: *vip, services: services(vip) }).collect()
}

fn filter_cleared(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let words = now.filter.iter().enumerate().filter(|(_, bits)| **bits != 0);
    let wanted = |word| wanted.filter.get(&word).copied().unwrap_or_default();
    words
        .filter(|(word, bits)| *bits & !wanted(*word) != 0)
        .map(|(word, _)| filter(word, wanted(word)))
        .collect()
}

fn policies_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let policies = (0..).zip(&now.policies);
    let unwanted = policies.filter(|(id, _)| !wanted.tables.services.contains_key(id));
    // Word by word in this order: the schedule goes first.
    unwanted.flat_map(|(id, held)| Array::Policies.difference(id, held, &Policy::ZERO)).collect()
}

/// The slot keeps its service, because ways may still point to it.
fn losing(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let Tables { backends, is_partial, .. } = wanted.tables;
    let words = backends.iter().map(|(slot, backend)| (*slot, backend.forward.0));
    let words = words.filter(|(slot, word)| now.backends[*slot as usize].forward != *word);
    let mut writes: Vec<_> = words.map(|(slot, word)| forward(slot, word)).collect();
    if !is_partial {
        let present = (0..).zip(&now.backends).filter(|(_, held)| held.forward != 0);
        let gone = present.filter(|(slot, _)| !backends.contains_key(slot));
        writes.extend(gone.map(|(slot, _)| forward(slot, 0)));
    }
    writes
}

fn interfaces_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (index, held) in now.interfaces.iter().enumerate() {
        let index = index as u8;
        if wanted.tables.interfaces.contains_key(&index) {
            continue;
        }
        if held.mac != 0 {
            writes.push(interface_mac(index, 0));
        }
        if now.devices.contains_key(&index) {
            writes.push(Write::Device { index, ifindex: None });
        }
        let unused = InterfaceValue { mac: 0, ..*held };
        let none = InterfaceValue::ZERO;
        writes.extend(Array::Interfaces.difference(index.into(), &unused, &none));
    }
    writes
}
