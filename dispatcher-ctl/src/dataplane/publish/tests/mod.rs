//! The order of writes, tested without a kernel: every prefix of the writes of random publications is looked at as if
//! the controller had died there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use dispatcher_common::{
    backend::{Forward, LOCAL, NEW, PRESENT, RESET, Share, UP, USABLE},
    flow::filter_bit_of,
    net::{self, Address, MacBytes},
    rule::{Condition, RuleSet},
    service::{ANY, OWN, Schedule, ServiceKey},
};
use nix::time::ClockId;
use proptest::prelude::*;

use super::{Changes, Contents, KeyBytes, Publisher, TableStore, Write, key_bytes};
use crate::dataplane::{
    error::DataplaneError,
    pool::{REST, Space},
    tables::{BackendTable, InterfaceTable, RuleTable, ScheduleTable, ServiceTable, Tables},
};

mod some;

const SERVICES: u32 = 5;
const SLOTS: u32 = 12;
const INTERFACES: u8 = 3;
const RULES: u32 = 6;

/// Maps as small as the random tables, so that they are quickly copied.
fn small() -> Contents {
    let mut contents = Contents::empty();
    contents.backends.truncate(SLOTS as usize);
    contents.policies.truncate(SERVICES as usize);
    contents.interfaces.truncate(INTERFACES as usize);
    contents.schedules.truncate(96);
    contents.rules.truncate(RULES as usize);
    contents.conditions.truncate(64);
    contents
}

/// The same, with room for the schedules of rules.
fn roomy() -> Contents {
    Contents { schedules: vec![0; 400], ..small() }
}

/// A kernel that remembers what happened, and may fail once.
#[derive(Clone, Debug)]
struct Recorder {
    contents: Contents,
    log: Vec<Event>,
    fail_at: Option<usize>,
}

#[derive(Clone, Debug)]
enum Event {
    Write(Write, Instant),
    Waited,
}

impl TableStore for Recorder {
    fn read(&self) -> Result<Contents, DataplaneError> {
        Ok(self.contents.clone())
    }

    fn refresh(&self, contents: &mut Contents) -> Result<(), DataplaneError> {
        contents.devices.clone_from(&self.contents.devices);
        Ok(())
    }

    fn apply(&mut self, write: &Write) -> Result<(), DataplaneError> {
        let gone = matches!(write, Write::Device { ifindex: Some(GONE), .. });
        if gone || self.fail_at == Some(self.log.len()) {
            self.fail_at = None;
            return Err(DataplaneError::Invalid("a write that fails".to_owned()));
        }
        self.contents.apply(write);
        self.log.push(Event::Write(write.clone(), Instant::now()));
        Ok(())
    }

    fn wait_for_readers(&mut self) -> std::io::Result<()> {
        self.log.push(Event::Waited);
        Ok(())
    }
}

/// An ifindex that the kernel does not know.
const GONE: u32 = 66;

fn publisher(contents: Contents, fail_at: Option<usize>) -> Publisher<Recorder> {
    Publisher::new(Recorder { contents, log: Vec::new(), fail_at }, false).unwrap()
}

fn keys() -> Vec<ServiceKey> {
    let vip = |last| vip4(192, last);
    let services = [(1, 80, 6), (1, 443, 6), (1, 80, 17), (2, 80, 6), (3, 0, 6), (4, 53, 17)];
    let any = [(vip4(0, 0), 80, 6), (vip4(0, 0), 0, 6), ([0; 16], 0, 17)];
    let exact = services.map(|(last, port, protocol)| (vip(last), port, protocol));
    let keys = exact.into_iter().chain(any);
    keys.map(|(vip, port, protocol)| ServiceKey::new(vip, port, protocol)).collect()
}

/// 192.0.2.x in mapped form; with 0 for the first byte, too, the unspecified address.
const fn vip4(first: u8, last: u8) -> Address {
    let two = if first == 0 { 0 } else { 2 };
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, first, 0, two, last]
}

/// A MAC that tells slot, service and a variant.
const fn mac(slot: u32, service: u32, variant: u8) -> MacBytes {
    [2, 0, 0, slot as u8, service as u8, variant]
}

prop_compose! {
    /// Any tables that agree with themselves.
    fn tables()(
        keys in Just(keys()).prop_shuffle(),
        count in 0..=SERVICES as usize,
        ids in Just((0..SERVICES).collect::<Vec<_>>()).prop_shuffle(),
        stale in 1..4_u64,
        backends in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0..5_u8, 0..INTERFACES, 0..3_usize), SLOTS as usize),
        ifindices in prop::collection::vec(10..14_u32, INTERFACES as usize),
        expiry in 0..3_u64,
        own in prop::collection::btree_set(1..8_u8, 0..5),
        rules in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1..3_usize, any::<bool>(), 1..4_u16), RULES as usize),
    ) -> Tables {
        let mut tables =
            Tables { expiry_ticks: [expiry; 8], syn_guard: expiry * 7, ..Tables::default() };
        for (key, id) in keys.iter().zip(&ids).take(count) {
            let choices = u64::from(key.protocol) << 16;
            let schedule = ScheduleTable::default();
            let affinity = stale / 2 * u64::from(*id);
            let service =
                ServiceTable { key: *key, choices, stale_ticks: stale, affinity, schedule, conditions: Vec::new() };
            tables.services.insert(*id, service);
        }
        if tables.services.values().any(|service| service.key.any == ANY) {
            tables.own_addresses = own.into_iter().map(|last| vip4(192, last)).collect();
        }
        for (slot, (present, owner, variant, interface, weight)) in (0..).zip(backends) {
            if slot == 0 || !present || count == 0 {
                continue;
            }
            let service = ids[owner.index(count)];
            let flags = match variant {
                0 => PRESENT,
                1 => PRESENT | USABLE | LOCAL,
                // Removed, while its clients are still to be told.
                4 => RESET,
                _ => PRESENT | USABLE | UP | NEW,
            };
            let forward = Forward::new(mac(slot, service, variant), interface, flags);
            let share = Share::new(weight as u8, u32::from(variant));
            tables.backends.insert(slot, BackendTable { service, forward, share });
            let interface_table =
                InterfaceTable { mac: [6; 6], ifindex: ifindices[interface as usize] };
            tables.interfaces.insert(interface, interface_table);
            if flags & NEW != 0 && let Some(service) = tables.services.get_mut(&service) {
                let ScheduleTable { ring, members } = &mut service.schedule;
                ring.extend(std::iter::repeat_n(slot as u16, weight));
                members.extend((weight > 0).then_some(slot as u16));
            }
        }
        for (id, (present, owner, conditions, active, step)) in (0..).zip(rules) {
            let service = match count {
                0 => continue,
                count => ids[owner.index(count)],
            };
            let Some(table) = tables.services.get_mut(&service).filter(|_| present) else { continue };
            let chosen = |of: &[u16]| of.iter().copied().filter(|slot| slot.is_multiple_of(step)).collect();
            let schedule = ScheduleTable {
                ring: chosen(&table.schedule.ring),
                members: chosen(&table.schedule.members),
            };
            let ports = |n| Condition { ports: n, ..Condition::any(id) };
            table.conditions.extend((0..conditions as u32).map(|n| ports(n * stale as u32)));
            tables.rules.insert(id, RuleTable { service, active, schedule });
        }
        for (slot, backend) in &tables.backends {
            let others = tables.backends.iter().filter(|(_, other)| other.service != backend.service);
            for (peer, other) in others.filter(|(peer, _)| (*peer + slot + stale as u32).is_multiple_of(3)) {
                tables.peers.insert((other.service, *slot), *peer);
            }
        }
        tables
    }
}

/// MACs that new connections to a key may be sent to.
fn reached(contents: &Contents, key: &KeyBytes) -> BTreeSet<MacBytes> {
    let Some(id) = contents.services.get(key) else { return BTreeSet::new() };
    let ring = contents.ring(contents.schedule(*id));
    ring.iter().map(|slot| Forward(contents.backends[*slot as usize].forward).mac()).collect()
}

/// What must hold whenever the controller may die and packets may come.
fn check_safe(contents: &Contents) {
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
fn check_own(start: &Contents, wanted: &Tables, contents: &Contents) {
    if contents.wildcards & 1 == 0 {
        return;
    }
    for address in &wanted.own_addresses {
        let was_known = start.wildcards & 1 == 0 || start.vips.get(address) == Some(&OWN);
        let was_vip = start.services.keys().any(|key| key[..16] == *address);
        let is_vip = wanted.services.values().any(|service| service.key.vip == *address);
        let held = contents.vips.get(address);
        assert!(!was_known || held.is_some(), "{address:?} is unknown");
        assert!(!was_known || was_vip || is_vip || held == Some(&OWN), "{address:?}: {held:?}");
    }
}

/// All words of the filter may change: a few of these states will do.
const fn is_one_of_many(write: &Write) -> bool {
    matches!(write, Write::Filter { word, .. } if *word % 400 != 7)
}

/// Replays the writes on what was there, looking at every step; `look` sees the maps after each.
fn replay(start: &Contents, wanted: &Tables, log: &[Event], mut look: impl FnMut(&Contents)) {
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
            Write::Schedule { service, .. } => {
                left.push((contents.space(contents.schedule(*service)), *at));
            }
            Write::RuleSchedule { rule, .. } => {
                left.push((contents.space(contents.rule_schedule(*rule)), *at));
            }
            Write::Conditions { offset, records } => {
                let held = (0..SERVICES).map(|service| conditions(&contents, service));
                check_apart(*offset, records.len(), held, &conditions_left, *at);
            }
            Write::Rules { service, .. } => {
                conditions_left.push((conditions(&contents, *service), *at));
            }
            Write::Owner { slot, service, .. } => {
                let held = &contents.backends[*slot as usize];
                let stays = held.forward == 0 || held.service == *service;
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
fn check_apart(
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
fn check_reach(start: &Contents, wanted: &Tables, contents: &Contents) {
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

/// The maps hold what is wanted, and nothing else.
fn check_done(contents: &Contents, wanted: &Tables) {
    assert_eq!(contents.expiry_ticks, wanted.expiry_ticks);
    assert_eq!(contents.syn_guard, wanted.syn_guard);
    let services: Vec<_> = contents.services.iter().map(|(key, id)| (*key, *id)).collect();
    let mut want: Vec<_> = wanted.services.iter().map(|(id, s)| (key_bytes(&s.key), *id)).collect();
    want.sort_unstable();
    assert_eq!(services, want);
    let exact = || wanted.services.values().filter(|service| service.key.any != ANY);
    let any = wanted.services.values().filter(|service| service.key.any == ANY);
    let families = any.map(|s| if net::is_v4(&s.key.vip) { 1 } else { 2 }).fold(0, |a, b| a | b);
    assert_eq!(contents.wildcards, families);
    let mut vips: BTreeMap<Address, u32> =
        wanted.own_addresses.iter().map(|address| (*address, OWN)).collect();
    for vip in exact().map(|service| service.key.vip) {
        vips.insert(vip, exact().filter(|service| service.key.vip == vip).count() as u32);
    }
    assert_eq!(contents.vips, vips);
    let mut filter = vec![if families == 0 { 0 } else { u64::MAX }; contents.filter.len()];
    for bit in exact().map(|s| filter_bit_of(&s.key.vip)) {
        filter[bit as usize / 64] |= 1 << (bit % 64);
    }
    assert!(contents.filter == filter);
    for (id, policy) in (0..).zip(&contents.policies) {
        let schedule = contents.table(Schedule(policy.schedule));
        let want = wanted.services.get(&id);
        let words = want.map_or([0; 3], |s| [s.choices, s.stale_ticks, s.affinity]);
        assert_eq!([policy.choices, policy.stale_ticks, policy.affinity], words);
        assert!(want.is_some() || policy.rules == 0, "rules of {id}");
        assert_eq!(schedule, want.map_or_else(ScheduleTable::default, |s| s.schedule.clone()));
    }
    for (id, service) in &wanted.services {
        assert_eq!(contents.conditions(contents.rule_set(*id)), service.conditions);
    }
    for (id, rule) in (0..).zip(&contents.rules) {
        let want = wanted.rules.get(&id);
        let words = want.map_or((0, 0), |r| (u64::from(r.service) + 1, u64::from(r.active)));
        assert_eq!((rule.owner, rule.active), words, "rule {id}");
        let schedule = want.map_or_else(ScheduleTable::default, |rule| rule.schedule.clone());
        assert_eq!(contents.table(Schedule(rule.schedule)), schedule, "rule {id}");
    }
    assert_eq!(contents.peers, wanted.peers);
    for (slot, backend) in (0..).zip(&contents.backends) {
        let want = wanted.backends.get(&slot);
        assert_eq!(backend.forward, want.map_or(0, |backend| backend.forward.0));
        let owner = (backend.service, Share(backend.share));
        assert!(want.is_none_or(|want| (want.service, want.share) == owner));
    }
    for (index, interface) in (0..).zip(&contents.interfaces) {
        let want = wanted.interfaces.get(&index);
        assert_eq!(interface.ifindex, want.map_or(0, |want| want.ifindex));
        assert_eq!(interface.mac, want.map_or(0, |want| Forward::new(want.mac, 0, 1).0));
        assert_eq!(contents.devices.get(&index), want.map(|want| &want.ifindex));
    }
}

/// Publishes, checks every step, and returns every state on the way.
fn publish(publisher: &mut Publisher<Recorder>, wanted: &Tables) -> Vec<Contents> {
    let start = publisher.store.contents.clone();
    let before = publisher.store.log.len();
    publisher.publish(wanted).unwrap();
    let mut states = Vec::new();
    replay(&start, wanted, &publisher.store.log[before..], |state| {
        states.push(state.clone());
    });
    check_done(&publisher.store.contents, wanted);
    assert_eq!(publisher.contents, publisher.store.contents);
    assert_eq!(publisher.publish(wanted).unwrap(), Changes::default(), "nothing left to do");
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn each_step_is_safe_and_a_successor_finishes_from_any(
        (a, b, c) in (tables(), tables(), tables())
    ) {
        let mut first = publisher(roomy(), None);
        publish(&mut first, &a);
        for state in publish(&mut first, &b) {
            // Killed here: the next controller has the same file, or another one.
            publish(&mut publisher(state.clone(), None), &b);
            publish(&mut publisher(state, None), &c);
        }
    }

    #[test]
    fn one_publisher_goes_on_and_on(all in prop::collection::vec(tables(), 1..12)) {
        let mut publisher = publisher(roomy(), None);
        for tables in &all {
            publish(&mut publisher, tables);
        }
    }

    #[test]
    fn a_write_that_fails_is_made_good_by_the_next_publication(
        (a, b, at) in (tables(), tables(), 0..60_usize)
    ) {
        let mut publisher = publisher(roomy(), None);
        publish(&mut publisher, &a);
        publisher.store.fail_at = Some(publisher.store.log.len() + at);
        // A device that cannot be written is not an error.
        let _ = publisher.publish(&b);
        publisher.store.fail_at = None;
        check_safe(&publisher.store.contents);
        publish(&mut publisher, &b);
    }
}

/// A service with these slots, each as often as its weight.
fn one_service(weights: &[(u16, usize)]) -> Tables {
    let ring = weights.iter().flat_map(|(slot, n)| std::iter::repeat_n(*slot, *n)).collect();
    let members = weights.iter().map(|(slot, _)| *slot).collect();
    let key = keys()[0];
    let choices = u64::from(key.protocol) << 16;
    let schedule = ScheduleTable { ring, members };
    let service = ServiceTable {
        key,
        choices,
        stale_ticks: 1,
        affinity: 0,
        schedule,
        conditions: Vec::new(),
    };
    let flags = PRESENT | USABLE | UP | NEW;
    let backend = |slot: u16| {
        let forward = Forward::new(mac(slot.into(), 0, 0), 1, flags);
        (u32::from(slot), BackendTable { service: 0, forward, share: Share::new(1, 0) })
    };
    Tables {
        services: [(0, service)].into(),
        backends: weights.iter().map(|(slot, _)| backend(*slot)).collect(),
        interfaces: [(1, InterfaceTable { mac: [6; 6], ifindex: 10 })].into(),
        ..Tables::default()
    }
}

#[test]
fn tables_that_contradict_themselves_are_refused_before_anything_is_written() {
    let good = one_service(&[(1, 2), (2, 1)]);
    type Edit = fn(&mut Tables);
    fn schedule(tables: &mut Tables) -> &mut ScheduleTable {
        &mut tables.services.get_mut(&0).unwrap().schedule
    }
    fn rule(slots: &[u16]) -> RuleTable {
        let schedule = ScheduleTable { ring: slots.to_vec(), members: slots.to_vec() };
        RuleTable { service: 0, active: true, schedule }
    }
    fn lead(tables: &mut Tables, rule: u32) {
        tables.services.get_mut(&0).unwrap().conditions.push(Condition::any(rule));
    }
    let edits: [(&str, Edit); 13] = [
        ("has slot 9, which is no member", |t| schedule(t).ring.push(9)),
        ("has slot 9, which takes no", |t| schedule(t).members.push(9)),
        ("has slot 2 twice", |t| schedule(t).members.push(2)),
        ("has members, but no ring", |t| schedule(t).ring.clear()),
        ("has slot 2", |t| t.backends.get_mut(&2).unwrap().service = 1),
        ("has slot 1", |t| {
            t.backends.get_mut(&1).unwrap().forward = Forward::new([2; 6], 0, PRESENT)
        }),
        ("not present", |t| t.backends.get_mut(&1).unwrap().forward = Forward::new([2; 6], 0, NEW)),
        ("slot 0", |t| t.backends.extend([(0, t.backends[&1])])),
        ("rule 3 is not service 0's", |t| lead(t, 3)),
        ("rule 4 has no condition", |t| t.rules.extend([(4, rule(&[1]))])),
        ("rule 2: schedule of service 0 has slot 9", |t| {
            lead(t, 2);
            t.rules.extend([(2, rule(&[9]))]);
        }),
        ("peer 2 of slot 7", |t| t.peers.extend([((1, 7), 2)])),
        ("interface index 64", |t| t.interfaces.extend([(64, t.interfaces[&1])])),
    ];
    for (what, edit) in edits {
        let mut publisher = publisher(small(), None);
        let mut bad = good.clone();
        edit(&mut bad);
        let error = publisher.publish(&bad).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(publisher.store.log.is_empty());
    }
}

#[test]
fn an_interface_that_is_gone_is_out_of_use_until_it_is_back() {
    let mut publisher = publisher(small(), None);
    let mut wanted = one_service(&[(1, 1)]);
    publish(&mut publisher, &wanted);
    // The kernel drops the device with the NIC.
    publisher.store.contents.devices.clear();
    wanted.interfaces.get_mut(&1).unwrap().ifindex = GONE;
    assert_eq!(publisher.publish(&wanted).unwrap().missing_interfaces, [1]);
    assert_eq!(publisher.contents.interfaces[1].mac, 0);
    assert_eq!(publisher.publish(&wanted).unwrap().missing_interfaces, [1], "tried again");
    wanted.interfaces.get_mut(&1).unwrap().ifindex = 12;
    publish(&mut publisher, &wanted);
}

#[test]
fn a_schedule_that_finds_no_room_is_refused_and_the_old_one_stays() {
    let mut publisher = publisher(small(), None);
    publish(&mut publisher, &one_service(&[(1, 30), (2, 15)]));
    // 45, their number and 2 of 96 are in use: 46 more with one member fit, 47 do not.
    publish(&mut publisher, &one_service(&[(1, 15), (2, 30)]));
    let before = publisher.contents.clone();
    let error = publisher.publish(&one_service(&[(1, 47)])).unwrap_err().to_string();
    assert_eq!(error, "schedules: no room for a schedule of 49 slots, 48 of 96 are free");
    assert!(publisher.contents.policies == before.policies);
    publish(&mut publisher, &one_service(&[(1, 46)]));
}

#[test]
fn a_weight_among_a_thousand_services_is_one_schedule_and_one_word() {
    let mut wanted = Tables::default();
    let choices = 6 << 16;
    for id in 0..1000_u32 {
        let [.., a, b] = id.to_be_bytes();
        let vip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, a, b];
        let slots: Vec<u16> = (0..10).map(|i| (1 + id * 10 + i) as u16).collect();
        for slot in &slots {
            let forward = Forward::new(mac(u32::from(*slot) & 0xff, 0, 0), 1, PRESENT | NEW);
            let backend = BackendTable { service: id, forward, share: Share::new(1, 0) };
            wanted.backends.insert(u32::from(*slot), backend);
        }
        let key = ServiceKey::new(vip, 80, 6);
        let schedule = ScheduleTable { ring: slots.clone(), members: slots };
        let service = ServiceTable {
            key,
            choices,
            stale_ticks: 1,
            affinity: 0,
            schedule,
            conditions: Vec::new(),
        };
        wanted.services.insert(id, service);
    }
    let mut publisher = publisher(Contents::empty(), None);
    publisher.publish(&wanted).unwrap();
    let ring = &mut wanted.services.get_mut(&500).unwrap().schedule.ring;
    ring.insert(0, 5001);
    // Time of this thread, whatever else the machine does.
    let cpu = || std::time::Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap());
    let start = cpu();
    let changes = publisher.publish(&wanted).unwrap();
    eprintln!("computed and written in {:?}", cpu() - start);
    assert_eq!((changes.writes, changes.schedules), (2, 1));
    assert_eq!(
        publisher.contents.table(publisher.contents.schedule(500)),
        wanted.services[&500].schedule
    );
}

#[test]
fn a_rule_is_switched_by_one_word() {
    let mut wanted = one_service(&[(1, 1), (2, 1)]);
    let schedule = ScheduleTable { ring: vec![2], members: vec![2] };
    wanted.rules.insert(3, RuleTable { service: 0, active: false, schedule });
    wanted.services.get_mut(&0).unwrap().conditions = vec![Condition::any(3)];
    let mut publisher = publisher(small(), None);
    publish(&mut publisher, &wanted);
    let switch = |publisher: &mut Publisher<Recorder>, rule, on| {
        publisher.set_active(&[(rule, on)].into()).unwrap().writes
    };
    assert_eq!(switch(&mut publisher, 3, false), 0);
    assert_eq!(switch(&mut publisher, 3, true), 1);
    assert_eq!(publisher.store.contents.rules[3].active, 1);
    assert_eq!(switch(&mut publisher, 4, true), 0, "nobody's rule");
    // What is published next says so, too, or else switches it back.
    assert_eq!(publisher.publish(&wanted).unwrap().writes, 1);
}
