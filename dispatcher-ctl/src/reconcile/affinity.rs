//! Affinity: the words and peers by which the datapath keeps clients with their backends.

use std::{collections::BTreeMap, net::IpAddr};

use dispatcher_common::service;

use crate::{
    datapath::{clock::ticks, tables::Tables},
    model::{Affinity, Service, State, affinity_groups},
};

/// Ticks after a client's last new connection when its record expires; 0: no affinity.
///
/// One more than the timeout rounded up: a record that is n ticks old is older than n − 1.
#[must_use]
pub fn affinity_ticks(affinity: &Affinity) -> u16 {
    match ticks(affinity.timeout) {
        0 => 0,
        ticks => u16::try_from(ticks.saturating_add(1)).unwrap_or(u16::MAX),
    }
}

/// Fills in the affinity words of services, and the peers of backends that several services of a group have.
pub(super) fn affinity(state: &State, tables: &mut Tables) {
    let mut groups: BTreeMap<usize, Vec<&Service>> = BTreeMap::new();
    let configs: Vec<_> = state.services.iter().map(|service| &service.config).collect();
    let firsts = affinity_groups(&configs);
    for (service, first) in state.services.iter().zip(firsts) {
        if affinity_ticks(&service.config.affinity) != 0 {
            groups.entry(first).or_default().push(service);
        }
    }
    for group in groups.values() {
        // Ids are below 4096.
        let number = group.iter().map(|service| service.id).min().unwrap_or_default() as u16;
        for service in group {
            let Affinity { mask_v4, mask_v6, .. } = service.config.affinity;
            let ticks = affinity_ticks(&service.config.affinity);
            if let Some(table) = tables.services.get_mut(&service.id) {
                table.affinity = service::Affinity::new(ticks, number, mask_v4, mask_v6).0;
            }
        }
        if group.len() > 1 {
            peers(group, tables);
        }
    }
}

fn peers(group: &[&Service], tables: &mut Tables) {
    let mut machines: BTreeMap<IpAddr, Vec<(u32, u32)>> = BTreeMap::new();
    for service in group {
        for backend in &service.backends {
            machines.entry(backend.config.address).or_default().push((service.id, backend.slot));
        }
    }
    for slots in machines.values() {
        for (service, slot) in slots {
            for (_, other) in slots.iter().filter(|(other, _)| other != service) {
                tables.peers.insert((*service, *other), *slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        datapath::tables::Tables,
        network::Resolution,
        reconcile::{
            Dirty, tables,
            testing::{backend, nic, service},
        },
    };

    /// A service: id, port and backends, each with its slot and the last byte of its address.
    type Sketch<'a> = (u32, u16, &'a [(u32, u8)]);

    /// These services of one VIP.
    fn state(services: &[Sketch<'_>]) -> State {
        let mut state = State::default();
        for (id, port, backends) in services {
            let mut service = service(&format!("s{port}"), "192.0.2.80", *port);
            service.id = *id;
            service.config.affinity.timeout = Duration::from_secs(300);
            for (slot, last) in *backends {
                let mut backend = backend(&format!("b{last}"), &format!("10.0.0.{last}"));
                backend.slot = *slot;
                service.backends.push(backend);
            }
            state.services.push(service.into());
        }
        state
    }

    fn published(state: &State) -> Tables {
        let mac = crate::model::Mac([2, 0, 0, 0, 0, 1]);
        let resolve = |address: IpAddr| {
            if address.to_string() == "10.0.0.99" {
                Resolution::Unresolved("no answer".into())
            } else {
                Resolution::Resolved { ifindex: 10, mac }
            }
        };
        let connections = crate::model::Config::new(Vec::new()).settings.connections;
        let (nics, mut schedules) = ([nic(0, "eth0", 10)], Default::default());
        tables(state, &Dirty::All, &connections, &nics, &resolve, &mut schedules)
    }

    #[test]
    fn linked_services_have_one_group_and_know_each_others_slots() {
        let mut state = state(&[
            (7, 80, &[(1, 11), (2, 12)]),
            (3, 443, &[(4, 11), (5, 13)]),
            (5, 8080, &[(6, 11), (7, 12)]),
            (6, 22, &[(8, 11)]),
        ]);
        state.services[0].config.affinity.cross_port = vec![443, 8080];
        state.services[3].config.affinity.mask_v4 = 24;
        let tables = published(&state);
        let word = |id| service::Affinity(tables.services[&id].affinity);
        assert_eq!([7, 3, 5, 6].map(|id| word(id).group()), [3, 3, 3, 6]);
        assert_eq!((word(7).ticks(), word(7).mask_v4(), word(7).mask_v6()), (71, 32, 128));
        assert_eq!(word(6).mask_v4(), 24);
        let want = [
            ((3, 1), 4),
            ((3, 6), 4),
            ((5, 1), 6),
            ((5, 2), 7),
            ((5, 4), 6),
            ((7, 4), 1),
            ((7, 6), 1),
            ((7, 7), 2),
        ];
        assert_eq!(tables.peers, want.into());
    }

    #[test]
    fn clients_stay_with_backends_that_are_up_sticky_and_not_quiesced_at_once() {
        let backends = [(1, 11), (2, 12), (3, 13), (4, 14), (5, 15), (6, 99)];
        let mut state = state(&[(0, 80, &backends)]);
        let of = &mut state.services[0].backends;
        of[1].quiesced = true;
        (of[2].quiesced, of[2].quiesced_now) = (true, true);
        of[3].config.sticky = false;
        of[4].down = true;
        let sticky = |state: &State| -> Vec<u32> {
            let is_sticky = |flags| flags & dispatcher_common::backend::STICKY != 0;
            let backends = published(state).backends.into_iter();
            backends.filter(|(_, b)| is_sticky(b.forward.flags())).map(|(slot, _)| slot).collect()
        };
        assert_eq!(sticky(&state), [1, 2]);
        state.services[0].config.affinity.timeout = Duration::ZERO;
        assert!(sticky(&state).is_empty());
        assert_eq!(published(&state).services[&0].affinity, 0);
    }

    #[test]
    fn a_timeout_is_never_early_and_fits_its_word() {
        let ticks = |ms| {
            let timeout = Duration::from_millis(ms);
            affinity_ticks(&Affinity { timeout, ..Affinity::default() })
        };
        assert_eq!([0, 1, 4294, 4295].map(ticks), [0, 2, 2, 3]);
        assert_eq!(ticks(72 * 3_600_000), 60_351);
        assert_eq!(ticks(u64::MAX), u16::MAX);
    }
}
