//! Tables to be published, at random and by hand, and maps as small as they are.

use dispatcher_common::{
    backend::{Forward, LOCAL, NEW, PRESENT, RESET, Share, UP, USABLE},
    net::{Address, MacBytes},
    rule::Condition,
    service::{ANY, ServiceKey},
};
use proptest::prelude::*;

use super::{
    BackendTable, Contents, InterfaceTable, RuleTable, ScheduleTable, ServiceTable, Tables,
};

pub(super) const SERVICES: u32 = 5;
pub(super) const SLOTS: u32 = 12;
pub(super) const INTERFACES: u8 = 3;
pub(super) const RULES: u32 = 6;

/// Maps as small as the random tables, so that they are quickly copied.
pub(super) fn small() -> Contents {
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
pub(super) fn roomy() -> Contents {
    Contents { schedules: vec![0; 400], ..small() }
}

pub(super) fn keys() -> Vec<ServiceKey> {
    let vip = |last| vip4(192, last);
    let services = [(1, 80, 6), (1, 443, 6), (1, 80, 17), (2, 80, 6), (3, 0, 6), (4, 53, 17)];
    let any = [(vip4(0, 0), 80, 6), (vip4(0, 0), 0, 6), ([0; 16], 0, 17)];
    let exact = services.map(|(last, port, protocol)| (vip(last), port, protocol));
    let keys = exact.into_iter().chain(any);
    keys.map(|(vip, port, protocol)| ServiceKey::new(vip, port, protocol)).collect()
}

/// 192.0.2.x in mapped form; with 0 for the first byte, too, the unspecified address.
pub(super) const fn vip4(first: u8, last: u8) -> Address {
    let two = if first == 0 { 0 } else { 2 };
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, first, 0, two, last]
}

/// A MAC that tells slot, service and a variant.
pub(super) const fn mac(slot: u32, service: u32, variant: u8) -> MacBytes {
    [2, 0, 0, slot as u8, service as u8, variant]
}

prop_compose! {
    /// Any tables that agree with themselves.
    pub(super) fn tables()(
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
            let affinity = stale / 2 * u64::from(*id);
            let service = ServiceTable { stale_ticks: stale, affinity, ..service(*key, &[]) };
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
                InterfaceTable { mac: [6; 6], ifindex: ifindices[interface as usize], mtu: 1500 + expiry as u32 };
            tables.interfaces.insert(interface, interface_table);
            if flags & LOCAL != 0 && let Some(service) = tables.services.get_mut(&service) {
                service.local = slot.into();
            }
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

/// A service with these slots, each as often as its weight.
fn service(key: ServiceKey, weights: &[(u16, usize)]) -> ServiceTable {
    let ring = weights.iter().flat_map(|(slot, n)| std::iter::repeat_n(*slot, *n)).collect();
    let members = weights.iter().map(|(slot, _)| *slot).collect();
    ServiceTable {
        key,
        choices: u64::from(key.protocol) << 16,
        stale_ticks: 1,
        affinity: 0,
        local: 0,
        schedule: ScheduleTable { ring, members },
        conditions: Vec::new(),
    }
}

/// A service in tables, with backends that are up.
fn add_service(tables: &mut Tables, id: u32, key: ServiceKey, weights: &[(u16, usize)]) {
    for slot in weights.iter().map(|(slot, _)| u32::from(*slot)) {
        let forward = Forward::new(mac(slot, id, 0), 1, PRESENT | USABLE | UP | NEW);
        let backend = BackendTable { service: id, forward, share: Share::new(1, 0) };
        tables.backends.insert(slot, backend);
    }
    tables.services.insert(id, service(key, weights));
}

/// The interface of those backends, and nothing else.
fn with_interface() -> Tables {
    let interfaces = [(1, InterfaceTable { mac: [6; 6], ifindex: 10, mtu: 1500 })].into();
    Tables { interfaces, ..Tables::default() }
}

/// One service with these slots, each as often as its weight.
pub(super) fn one_service(weights: &[(u16, usize)]) -> Tables {
    let mut tables = with_interface();
    add_service(&mut tables, 0, keys()[0], weights);
    tables
}

/// So many services, each with its own VIP and ten backends.
pub(super) fn many_services(count: u16) -> Tables {
    let mut tables = with_interface();
    for id in 0..count {
        let [a, b] = id.to_be_bytes();
        let vip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, a, b];
        let weights: Vec<_> = (0..10).map(|i| (1 + id * 10 + i, 1)).collect();
        add_service(&mut tables, id.into(), ServiceKey::new(vip, 80, 6), &weights);
    }
    tables
}
