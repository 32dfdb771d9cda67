//! A publication of some services does what one of everything does, in the same order.

use std::collections::BTreeSet;

use dispatcher_common::backend::{Forward, NEW, PRESENT, RESET, Share, UP, USABLE};

use super::*;

/// What random tables say of these services: their backends, and their rules.
fn of_some(tables: &Tables, services: &BTreeSet<u32>) -> Tables {
    let mut some = Tables { is_partial: true, ..Tables::default() };
    let of = |id: &u32| services.contains(id);
    some.services
        .extend(tables.services.iter().filter(|(id, _)| of(id)).map(|(i, s)| (*i, s.clone())));
    some.backends.extend(tables.backends.iter().filter(|(_, b)| of(&b.service)));
    some.rules.extend(
        tables.rules.iter().filter(|(_, r)| of(&r.service)).map(|(id, rule)| (*id, rule.clone())),
    );
    some
}

/// The same services, backends and rules, with other weights, up or not, and rules that hold or not.
fn reweighted(tables: &Tables, services: &BTreeSet<u32>, seeds: &[(usize, u8, bool)]) -> Tables {
    let mut tables = tables.clone();
    for (id, service) in tables.services.iter_mut().filter(|(id, _)| services.contains(id)) {
        service.schedule = ScheduleTable::default();
        let of = tables.backends.iter_mut().filter(|(_, backend)| backend.service == *id);
        for (slot, backend) in of.filter(|(_, backend)| backend.forward.flags() != RESET) {
            let (weight, variant, _) = seeds[*slot as usize];
            let flags = match variant {
                0 => PRESENT,
                1 => PRESENT | USABLE,
                _ => PRESENT | USABLE | UP | NEW,
            };
            let interface = backend.forward.interface() as u8;
            backend.forward = Forward::new(mac(*slot, *id, variant), interface, flags);
            backend.share = Share::new(weight as u8, u32::from(variant));
            if flags & NEW != 0 && weight > 0 {
                service.schedule.ring.extend(std::iter::repeat_n(*slot as u16, weight));
                service.schedule.members.push(*slot as u16);
            }
        }
    }
    for (id, rule) in tables.rules.iter_mut().filter(|(_, rule)| services.contains(&rule.service)) {
        rule.active = seeds[*id as usize].2;
        rule.schedule = tables.services[&rule.service].schedule.clone();
    }
    tables
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn some_are_written_as_all_would_be(
        from in tables(),
        seeds in prop::collection::vec((0..4_usize, 0..4_u8, any::<bool>()), SLOTS as usize),
        services in prop::collection::btree_set(0..SERVICES, 0..4),
    ) {
        let mut all = publisher(roomy(), None);
        publish(&mut all, &from);
        let mut some = publisher(all.contents.clone(), None);
        let mut all = publisher(all.contents.clone(), None);
        let to = reweighted(&from, &services, &seeds);
        let few = of_some(&to, &services);
        let changes = all.publish(&to).unwrap();
        prop_assert_eq!(some.publish(&few).unwrap(), changes);
        let writes = |publisher: &Publisher<Recorder>| -> Vec<Write> {
            let of = |event: &Event| match event {
                Event::Write(write, _) => Some(write.clone()),
                Event::Waited => None,
            };
            publisher.store.log.iter().filter_map(of).collect()
        };
        prop_assert_eq!(writes(&some), writes(&all));
        prop_assert_eq!(&some.contents, &all.contents);
        check_done(&some.store.contents, &to);
    }

    #[test]
    fn what_is_not_as_it_was_is_not_written(
        (from, to) in (tables(), tables()),
        services in prop::collection::btree_set(0..SERVICES, 1..4),
    ) {
        let mut publisher = publisher(roomy(), None);
        publish(&mut publisher, &from);
        let (few, before) = (of_some(&to, &services), publisher.contents.clone());
        if !publisher.holds(&few) {
            publisher.publish(&few).unwrap_err();
            prop_assert_eq!(&publisher.contents, &before);
        } else {
            publisher.publish(&few).unwrap();
            // Whatever it was, it is safe, and the next publication goes on from there.
            check_safe(&publisher.store.contents);
        }
        publish(&mut publisher, &to);
    }
}
