//! What holds after each write, whenever the controller may die and packets may come.

use std::{collections::BTreeSet, time::Instant};

use dispatcher_common::{
    backend::{BackendValue, Forward, NEW, PRESENT},
    net::MacBytes,
    rule::{Rule, RuleSet},
    service::{OWN, Policy, Schedule},
};

use super::{Array, Contents, Event, KeyBytes, SERVICES, Tables, Write, key_bytes, word_of};
use crate::datapath::pool::{REST, Space};

/// MACs that new connections to a key may be sent to.
pub(super) fn reached(contents: &Contents, key: &KeyBytes) -> BTreeSet<MacBytes> {
    let Some(id) = contents.services.get(key) else { return BTreeSet::new() };
    let ring = contents.ring(contents.schedule(*id));
    ring.iter().map(|slot| Forward(contents.backends[*slot as usize].forward).mac()).collect()
}

/// What must hold whenever the controller may die and packets may come.
pub(super) fn check_safe(contents: &Contents) {
    for (id, schedule) in contents.all_schedules().enumerate() {
        let (ring, members) = (contents.ring(schedule), contents.members(schedule));
        assert_eq!(ring.len(), schedule.length() as usize, "ring of {id} is within the pool");
        assert!(ring.iter().all(|slot| members.contains(slot)), "{ring:?} of {members:?}");
        for slot in members {
            let backend = &contents.backends[*slot as usize];
            let flags = Forward(backend.forward).flags();
            assert_eq!(flags & (NEW | PRESENT), NEW | PRESENT, "slot {slot} in a schedule");
            assert_eq!(backend.service as usize, id, "slot {slot} in the schedule of {id}");
        }
    }
    for (rule, id) in contents.rules.iter().zip(0..) {
        let schedule = Schedule(rule.schedule);
        for slot in contents.members(schedule) {
            let backend = &contents.backends[*slot as usize];
            let flags = Forward(backend.forward).flags();
            assert_eq!(flags & (NEW | PRESENT), NEW | PRESENT, "slot {slot} in rule {id}");
            assert_eq!(u64::from(backend.service) + 1, rule.owner, "slot {slot} in rule {id}");
        }
    }
    for (policy, id) in contents.policies.iter().zip(0..) {
        let set = RuleSet(policy.rules);
        assert_eq!(contents.conditions(set).len(), set.count() as usize, "within the pool");
        for condition in contents.conditions(set) {
            let rule = &contents.rules[condition.rule as usize];
            assert_ne!(rule.owner, 0, "rule {} of service {id} is there", condition.rule);
        }
    }
    for (key, id) in &contents.services {
        let choices = contents.policies[*id as usize].choices;
        assert_eq!(choices >> 16, u64::from(key[18]), "service {id} has the policy of its key");
    }
    for ((service, slot), peer) in &contents.peers {
        let owner = contents.backends[*peer as usize].service;
        assert_eq!(owner, *service, "slot {peer}, the peer of {slot}");
    }
    for (index, interface) in (0..).zip(&contents.interfaces) {
        if interface.mac != 0 {
            assert_eq!(contents.devices.get(&index), Some(&interface.ifindex));
        }
    }
}

/// While services on any address are looked for, the host's own addresses are known as such, if they were when this began.
pub(super) fn check_own(start: &Contents, wanted: &Tables, contents: &Contents) {
    if contents.settings.wildcards & 1 == 0 {
        return;
    }
    for address in &wanted.own_addresses {
        let was_known = start.settings.wildcards & 1 == 0 || start.vips.get(address) == Some(&OWN);
        let was_vip = start.services.keys().any(|key| key[..16] == *address);
        let is_vip = wanted.services.values().any(|service| service.key.vip == *address);
        let held = contents.vips.get(address);
        assert!(!was_known || held.is_some(), "{address:?} is unknown");
        assert!(!was_known || was_vip || is_vip || held == Some(&OWN), "{address:?}: {held:?}");
    }
}

/// All words of the filter may change: a few of these states will do.
pub(super) const fn is_one_of_many(write: &Write) -> bool {
    matches!(write, Write::Word { array: Array::AddressFilter, word, .. } if *word % 400 != 7)
}

/// Replays the writes on what was there, looking at every step; `look` sees the maps after each.
pub(super) fn replay(
    start: &Contents,
    wanted: &Tables,
    log: &[Event],
    mut look: impl FnMut(&Contents),
) {
    let mut contents = start.clone();
    // Schedules that packets in flight may still read.
    let mut left: Vec<(Space, Instant)> = Vec::new();
    let mut conditions_left: Vec<(Space, Instant)> = Vec::new();
    let conditions = |contents: &Contents, service| {
        let set = contents.rule_set(service);
        Space { offset: set.offset(), length: set.count() }
    };
    for event in log {
        let Event::Write(write, at) = event else {
            left.clear();
            conditions_left.clear();
            continue;
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "six writes have a rule of their own")]
        match write {
            Write::Ring { offset, words } => {
                let held = contents.all_schedules().chain(contents.rule_schedules());
                let held = held.map(|schedule| contents.space(schedule));
                check_apart(*offset, words.len(), held, &left, *at);
                let half = words[..words.len() / 2].to_vec();
                contents.apply(&Write::Ring { offset: *offset, words: half });
                check_safe(&contents);
            }
            Write::Word { array: Array::Policies, index, word: SCHEDULE, .. } => {
                left.push((contents.space(contents.schedule(*index)), *at));
            }
            Write::Word { array: Array::Rules, index, word: RULE_SCHEDULE, .. } => {
                left.push((contents.space(contents.rule_schedule(*index)), *at));
            }
            Write::Conditions { offset, records } => {
                let held = (0..SERVICES).map(|service| conditions(&contents, service));
                check_apart(*offset, records.len(), held, &conditions_left, *at);
            }
            Write::Word { array: Array::Policies, index, word: RULES, .. } => {
                conditions_left.push((conditions(&contents, *index), *at));
            }
            Write::Word { array: Array::Backends, index: slot, word: OWNER, value } => {
                let held = &contents.backends[*slot as usize];
                let stays = held.forward == 0 || held.service == *value as u32;
                assert!(stays, "slot {slot} is given away");
            }
            _ => {}
        }
        contents.apply(write);
        if is_one_of_many(write) {
            continue;
        }
        check_safe(&contents);
        check_reach(start, wanted, &contents);
        check_own(start, wanted, &contents);
        look(&contents);
    }
}

/// What is written lies apart from what is held, and from what was left so lately that it may still be read.
pub(super) fn check_apart(
    offset: u32,
    length: usize,
    held: impl Iterator<Item = Space>,
    left: &[(Space, Instant)],
    now: Instant,
) {
    let written = offset..offset + length as u32;
    let read = left.iter().filter(|(_, since)| now - *since < REST).map(|(space, _)| *space);
    for space in read.chain(held) {
        let apart = space.length == 0
            || space.offset >= written.end
            || space.offset + space.length <= written.start;
        assert!(apart, "{space:?} is read while {written:?} is written");
    }
}

/// A key leads to backends it led to before, or to those it is to lead to, and an interface that stays is in use
/// throughout.
pub(super) fn check_reach(start: &Contents, wanted: &Tables, contents: &Contents) {
    for (index, interface) in &wanted.interfaces {
        let before = &start.interfaces[*index as usize];
        if before.mac != 0 && start.devices.get(index) == Some(&interface.ifindex) {
            assert_ne!(contents.interfaces[*index as usize].mac, 0, "interface {index}");
        }
    }
    for key in contents.services.keys() {
        let mut allowed = reached(start, key);
        if let Some((id, _)) = wanted.services.iter().find(|(_, s)| key_bytes(&s.key) == *key) {
            let backends = wanted.backends.values().filter(|backend| backend.service == *id);
            allowed.extend(backends.map(|backend| backend.forward.mac()));
        }
        let reached = reached(contents, key);
        assert!(reached.is_subset(&allowed), "{key:?}: {reached:?} of {allowed:?}");
    }
}

const SCHEDULE: usize = word_of!(Policy, schedule);
const RULES: usize = word_of!(Policy, rules);
const RULE_SCHEDULE: usize = word_of!(Rule, schedule);
const OWNER: usize = word_of!(BackendValue, service);
