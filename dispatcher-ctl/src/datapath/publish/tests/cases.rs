//! Publications with known writes.

use dispatcher_common::{
    backend::{Forward, InterfaceValue, NEW, PRESENT},
    rule::Condition,
    service::Policy,
};
use nix::time::ClockId;

use super::{
    built::{many_services, one_service},
    *,
};

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
    let mut wanted = many_services(1000);
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

#[test]
fn an_mtu_and_a_local_backend_are_one_word_each_and_nothing_is_out_of_use_meanwhile() {
    let mut wanted = one_service(&[(1, 1), (2, 1)]);
    let mut publisher = publisher(small(), None);
    publish(&mut publisher, &wanted);
    assert_eq!(publisher.store.contents.interfaces[1].mtu, 1500);
    publisher.store.log.clear();
    wanted.interfaces.get_mut(&1).unwrap().mtu = 9000;
    wanted.services.get_mut(&0).unwrap().local = 2;
    assert_eq!(publisher.publish(&wanted).unwrap().writes, 2);
    let [Event::Write(first, _), Event::Write(second, _)] = &publisher.store.log[..] else {
        panic!("{:?}", publisher.store.log);
    };
    let device = 10 | 9000 << 32;
    assert_eq!(*first, Array::Interfaces.store(1, word_of!(InterfaceValue, ifindex), device));
    assert_eq!(*second, Array::Policies.store(0, word_of!(Policy, local), 2));
    // A service that goes takes its word along.
    publish(&mut publisher, &Tables::default());
    let contents = &publisher.store.contents;
    assert_eq!((contents.policies[0].local, contents.interfaces[1].mtu), (0, 0));
}
