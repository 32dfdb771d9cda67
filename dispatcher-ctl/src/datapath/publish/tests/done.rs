//! What holds when a publication is done.

use std::collections::BTreeMap;

use dispatcher_common::{
    backend::{Forward, Share},
    flow::filter_bit_of,
    net::{self, Address},
    service::{ANY, OWN, Schedule},
};

use super::{Contents, ScheduleTable, Tables, key_bytes};

/// The maps hold what is wanted, and nothing else.
pub(super) fn check_done(contents: &Contents, wanted: &Tables) {
    assert_eq!(contents.settings.expiry_ticks, wanted.expiry_ticks);
    assert_eq!(contents.settings.syn_guard, wanted.syn_guard);
    let services: Vec<_> = contents.services.iter().map(|(key, id)| (*key, *id)).collect();
    let mut want: Vec<_> = wanted.services.iter().map(|(id, s)| (key_bytes(&s.key), *id)).collect();
    want.sort_unstable();
    assert_eq!(services, want);
    let exact = || wanted.services.values().filter(|service| service.key.any != ANY);
    let any = wanted.services.values().filter(|service| service.key.any == ANY);
    let families = any.map(|s| if net::is_v4(&s.key.vip) { 1 } else { 2 }).fold(0, |a, b| a | b);
    assert_eq!(contents.settings.wildcards, families);
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
