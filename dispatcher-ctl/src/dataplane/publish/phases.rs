//! In which order is a difference written? Pure: each phase compares what the maps hold with what they should hold.
//!
//! Packets flow meanwhile, and the controller may die between any two writes. The order keeps these true throughout:
//!
//! - a schedule names only slots that belong to its service and take new connections;
//! - a service that a key leads to has its policy, and what a key leads to is the old service of that key or its new one;
//! - a slot changes hands only while it belongs to nobody;
//! - a peer is a slot of the service that is asked for;
//! - the conditions of a service lead to rules that are there, and not to backends of another service;
//! - while services on any address are looked for, the host's own addresses are known as such;
//! - a packet is sent out only by an interface whose device is the one its record names.
//!
//! So: what is pointed to before what points to it, and removals in reverse: settings, the memory of measurement and
//! interfaces; keys whose service id is given to another service; schedules that hold a slot which changes hands; peers not
//! wanted; backends that gain; peers; policies; schedules, each into free space and then swapped by one word; rules and
//! their schedules, then conditions, swapped as schedules are; the host's own addresses; keys; VIPs; that there are services
//! on any address; filter bits. Then what is not wanted any more: services on any address; keys; VIPs and own addresses;
//! filter bits; policies of services without a key; rules that no condition leads to; backends that lose; the memory of
//! measurement; interfaces.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher_common::{
    backend::{Forward, NEW, PRESENT},
    flow::filter_bit_of,
    limits::ADDRESS_FILTER_BITS,
    net::{self, Address},
    rule::{Condition, RuleSet},
    service::{ANY, OWN, Schedule},
};

use super::{
    contents::Contents,
    rules,
    write::{KeyBytes, Write, key_bytes},
};
use crate::dataplane::tables::{
    BackendTable, InterfaceTable, RuleTable, ScheduleTable, ServiceTable, Tables,
};

/// Computes the writes of one phase.
type Phase = fn(&Contents, &Wanted<'_>) -> Vec<Write>;
/// Computes the schedules of one phase, by whose they are.
type SchedulePhase = fn(&Contents, &Wanted<'_>) -> Vec<(Holder, ScheduleTable)>;
/// Computes the conditions of one phase, by service.
type ConditionPhase = fn(&Contents, &Wanted<'_>) -> Vec<(u32, Vec<Condition>)>;

/// Who has a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A rule, by its id.
    Rule(u32),
    /// A service, by its id.
    Service(u32),
}

/// The phases, in order.
pub(super) const PHASES: [(&str, Step); 27] = [
    ("settings", Step::Writes(settings)),
    ("memory of measurement", Step::Writes(measuring)),
    ("interfaces", Step::Writes(interfaces)),
    ("keys whose id is given away", Step::Writes(given_away)),
    ("schedules with slots given away", Step::Schedules(vacated)),
    ("peers not wanted", Step::Writes(peers_unwanted)),
    ("backends that gain", Step::Writes(gaining)),
    ("peers", Step::Writes(peers)),
    ("policies", Step::Writes(policies)),
    ("schedules", Step::Schedules(schedules)),
    ("rules", Step::Writes(rules::gaining)),
    ("schedules of rules", Step::Schedules(rules::schedules)),
    ("conditions", Step::Conditions(rules::conditions)),
    ("own addresses", Step::Writes(own_addresses)),
    ("keys", Step::Writes(keys)),
    ("vips", Step::Writes(vips)),
    ("wildcards", Step::Writes(wildcards_set)),
    ("filter bits", Step::Writes(filter_set)),
    ("wildcards not wanted", Step::Writes(wildcards_cleared)),
    ("keys not wanted", Step::Writes(keys_unwanted)),
    ("vips not wanted", Step::Writes(vips_unwanted)),
    ("filter bits not wanted", Step::Writes(filter_cleared)),
    ("policies not wanted", Step::Writes(policies_unwanted)),
    ("rules not wanted", Step::Writes(rules::unwanted)),
    ("backends that lose", Step::Writes(losing)),
    ("memory of measurement not wanted", Step::Writes(measuring_unwanted)),
    ("interfaces not wanted", Step::Writes(interfaces_unwanted)),
];

/// Those of them that services which are in force as they are ([`are_in_force`]) may have something to do in, in order.
pub(super) const PHASES_OF_SOME: [(&str, Step); 7] = [
    ("backends that gain", Step::Writes(gaining)),
    ("policies", Step::Writes(policies)),
    ("schedules", Step::Schedules(schedules)),
    ("rules", Step::Writes(rules::gaining)),
    ("schedules of rules", Step::Schedules(rules::schedules)),
    ("conditions", Step::Conditions(rules::conditions)),
    ("backends that lose", Step::Writes(losing_of_some)),
];

/// Whether the services of these tables are in force under their keys, with these backends and these rules and no others.
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
    // A backend that is missing in the tables but takes new connections would stay in no schedule, and keep its word.
    let has_all = |id: &u32| now.members(now.schedule(*id)).iter().all(is_taker);
    tables.services.iter().all(has_key)
        && tables.backends.iter().all(has_slot)
        && tables.rules.iter().all(has_rule)
        && tables.services.keys().all(has_all)
}

/// What a phase yields.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Writes.
    Writes(Phase),
    /// Schedules, each to be written into free space and then swapped in.
    Schedules(SchedulePhase),
    /// Conditions by service, likewise.
    Conditions(ConditionPhase),
}

/// What is wanted, with what follows from it.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) tables: &'a Tables,
    keys: BTreeMap<KeyBytes, u32>,
    /// Own addresses among them, if they are no VIPs.
    vips: BTreeMap<Address, u32>,
    /// Families with services on any address.
    wildcards: u64,
    filter: BTreeMap<usize, u64>,
}

impl<'a> Wanted<'a> {
    /// Works out keys, VIPs and filter bits.
    pub(super) fn new(tables: &'a Tables) -> Self {
        let mut wanted = Self {
            tables,
            keys: BTreeMap::new(),
            vips: BTreeMap::new(),
            wildcards: 0,
            filter: BTreeMap::new(),
        };
        for (id, service) in &tables.services {
            wanted.keys.insert(key_bytes(&service.key), *id);
            if service.key.any == ANY {
                wanted.wildcards |= family(&service.key.vip);
                continue;
            }
            *wanted.vips.entry(service.key.vip).or_default() += 1;
            let bit = filter_bit_of(&service.key.vip) as usize;
            *wanted.filter.entry(bit / 64).or_default() |= 1 << (bit % 64);
        }
        for address in &tables.own_addresses {
            wanted.vips.entry(*address).or_insert(OWN);
        }
        if wanted.wildcards != 0 {
            // Every address may be one of theirs.
            wanted.filter = (0..ADDRESS_FILTER_BITS as usize / 64).map(|i| (i, u64::MAX)).collect();
        }
        wanted
    }

    /// Slots that belong to one service and are wanted for another.
    fn given_away(&self, now: &Contents) -> BTreeSet<u16> {
        let moved = self.tables.backends.iter().filter(|(slot, backend)| {
            let held = &now.backends[**slot as usize];
            held.forward != 0 && held.service != backend.service
        });
        moved.map(|(slot, _)| *slot as u16).collect()
    }
}

/// A family's bit of [`dispatcher_common::settings::Settings::wildcards`].
fn family(address: &Address) -> u64 {
    if net::is_v4(address) { 1 } else { 2 }
}

fn settings(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let pairs = now.expiry_ticks.iter().zip(&wanted.tables.expiry_ticks).enumerate();
    let mut writes: Vec<_> = pairs
        .filter(|(_, (held, wanted))| held != wanted)
        .map(|(class, (_, ticks))| Write::Expiry { class, ticks: *ticks })
        .collect();
    let connections = wanted.tables.syn_guard;
    if now.syn_guard != connections {
        writes.push(Write::SynGuard { connections });
    }
    writes
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

/// [`dispatcher_common::backend::InterfaceValue::mac`] of an interface in use.
fn interface_word(interface: &InterfaceTable) -> u64 {
    Forward::new(interface.mac, 0, 1).0
}

fn interfaces(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&index, interface) in &wanted.tables.interfaces {
        let held = &now.interfaces[index as usize];
        let (mac, ifindex) = (interface_word(interface), interface.ifindex);
        let written = Write::InterfaceDevice { index, ifindex, mtu: interface.mtu };
        let device = now.devices.get(&index) == Some(&ifindex);
        if device && held.ifindex == ifindex {
            if held.mtu != interface.mtu {
                writes.push(written);
            }
            if held.mac != mac {
                writes.push(Write::InterfaceMac { index, mac });
            }
            continue;
        }
        // Another NIC takes the index, or the kernel dropped the device: out of use until all of it is written.
        if held.mac != 0 {
            writes.push(Write::InterfaceMac { index, mac: 0 });
        }
        writes.push(Write::Device { index, ifindex: Some(ifindex) });
        writes.push(written);
        writes.push(Write::InterfaceMac { index, mac });
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

fn gaining(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&slot, backend) in &wanted.tables.backends {
        let (held, word) = (&now.backends[slot as usize], backend.forward);
        let owner = Write::Owner { slot, service: backend.service, share: backend.share.0 };
        if held.forward == 0 || held.service != backend.service {
            if held.forward != 0 {
                writes.push(Write::Forward { slot, word: 0 });
            }
            writes.push(owner);
            writes.push(Write::ResetSlot { slot });
            writes.push(Write::Forward { slot, word: word.0 });
            continue;
        }
        if held.share != backend.share.0 {
            writes.push(owner);
        }
        if held.forward != word.0 && !loses(Forward(held.forward), word) {
            writes.push(Write::Forward { slot, word: word.0 });
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

/// Those that are to be another slot, too: what is in between stays nobody's.
fn peers_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let differs = |(key, peer): &(&(u32, u32), &u32)| wanted.tables.peers.get(key) != Some(*peer);
    let unwanted = now.peers.iter().filter(differs);
    unwanted.map(|(&(service, slot), _)| Write::Peer { service, slot, peer: None }).collect()
}

/// Whether schedules must let go of the slot before its word is written.
const fn loses(held: Forward, wanted: Forward) -> bool {
    held.flags() & !wanted.flags() & (NEW | PRESENT) != 0
}

fn policies(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&id, service) in &wanted.tables.services {
        let held = &now.policies[id as usize];
        // No other key leads to it by now.
        if now.services.get(&key_bytes(&service.key)) != Some(&id) {
            writes.push(Write::ResetService { service: id });
        }
        if held.choices != service.choices {
            writes.push(Write::Choices { service: id, choices: service.choices });
        }
        if held.stale_ticks != service.stale_ticks {
            writes.push(Write::StaleTicks { service: id, ticks: service.stale_ticks });
        }
        if held.affinity != service.affinity {
            writes.push(Write::Affinity { service: id, affinity: service.affinity });
        }
        if held.local != service.local {
            writes.push(Write::Local { service: id, slot: service.local });
        }
    }
    writes
}

fn schedules(now: &Contents, wanted: &Wanted<'_>) -> Vec<(Holder, ScheduleTable)> {
    let services = wanted.tables.services.iter();
    let changed = services.filter(|(id, service)| {
        let (held, wanted) = (now.schedule(**id), &service.schedule);
        now.ring(held) != wanted.ring || now.members(held) != wanted.members
    });
    changed.map(|(id, service)| (Holder::Service(*id), service.schedule.clone())).collect()
}

fn keys(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let changed = wanted.keys.iter().filter(|(key, id)| now.services.get(*key) != Some(id));
    changed.map(|(key, id)| Write::Service { key: *key, service: Some(*id) }).collect()
}

/// A VIP that becomes a mere address of the host stays one until its keys are gone.
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
    wildcards(now, now.wildcards | wanted.wildcards)
}

fn wildcards_cleared(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    wildcards(now, wanted.wildcards)
}

fn wildcards(now: &Contents, families: u64) -> Vec<Write> {
    if now.wildcards == families { Vec::new() } else { vec![Write::Wildcards { families }] }
}

fn vips(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let vips = wanted.vips.iter().filter(|(_, count)| **count != OWN);
    let changed = vips.filter(|(vip, count)| now.vips.get(*vip) != Some(count));
    changed.map(|(vip, services)| Write::Vip { vip: *vip, services: *services }).collect()
}

fn filter_set(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let missing = wanted.filter.iter().filter(|(word, bits)| *bits & !now.filter[**word] != 0);
    missing.map(|(&word, bits)| Write::Filter { word, bits: bits | now.filter[word] }).collect()
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
        .map(|(word, _)| Write::Filter { word, bits: wanted(word) })
        .collect()
}

fn policies_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (id, policy) in now.policies.iter().enumerate() {
        let service = id as u32;
        if wanted.tables.services.contains_key(&service) {
            continue;
        }
        if policy.schedule != 0 {
            writes.push(Write::Schedule { service, schedule: Schedule(0) });
        }
        if policy.choices != 0 {
            writes.push(Write::Choices { service, choices: 0 });
        }
        if policy.stale_ticks != 0 {
            writes.push(Write::StaleTicks { service, ticks: 0 });
        }
        if policy.affinity != 0 {
            writes.push(Write::Affinity { service, affinity: 0 });
        }
        if policy.local != 0 {
            writes.push(Write::Local { service, slot: 0 });
        }
        if policy.rules != 0 {
            writes.push(Write::Rules { service, rules: RuleSet(0) });
        }
    }
    writes
}

fn losing(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let slots = wanted.tables.backends.last_key_value().map_or(0, |(slot, _)| *slot as usize + 1);
    let mut forwards = vec![0; slots];
    for (slot, backend) in &wanted.tables.backends {
        forwards[*slot as usize] = backend.forward.0;
    }
    let mut writes = Vec::new();
    for (slot, held) in now.backends.iter().enumerate() {
        let word = forwards.get(slot).copied().unwrap_or_default();
        if held.forward != word {
            // The slot keeps its service: ways may point to it for a while.
            writes.push(Write::Forward { slot: slot as u32, word });
        }
    }
    writes
}

/// As [`losing`], where all other backends stay.
fn losing_of_some(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let word = |(slot, backend): (&u32, &BackendTable)| (*slot, backend.forward.0);
    let words = wanted.tables.backends.iter().map(word);
    let differ = words.filter(|(slot, word)| now.backends[*slot as usize].forward != *word);
    differ.map(|(slot, word)| Write::Forward { slot, word }).collect()
}

fn interfaces_unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (index, held) in now.interfaces.iter().enumerate() {
        let index = index as u8;
        if wanted.tables.interfaces.contains_key(&index) {
            continue;
        }
        if held.mac != 0 {
            writes.push(Write::InterfaceMac { index, mac: 0 });
        }
        if now.devices.contains_key(&index) {
            writes.push(Write::Device { index, ifindex: None });
        }
        if (held.ifindex, held.mtu) != (0, 0) {
            writes.push(Write::InterfaceDevice { index, ifindex: 0, mtu: 0 });
        }
    }
    writes
}
