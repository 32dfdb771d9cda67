//! Who wins, case by case and at random.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::{
    api::types::PatchBackend,
    model::{Outline, Service},
    reconcile::{
        edit::Edit,
        testing::{after, any_acts, any_config, backend, service, started},
    },
};

/// `web` (two backends) and `mail` (one) on eth0.
fn file() -> Config {
    let mut config = Config::new(vec!["eth0".to_owned()]);
    let mut web = ServiceConfig::from(service("web", "192.0.2.80", 80).config);
    web.backends = vec![backend("a", "10.0.0.1").config, backend("b", "10.0.0.2").config];
    let mut mail = ServiceConfig::from(service("mail", "192.0.2.25", 25).config);
    mail.backends = vec![backend("m", "10.0.0.3").config];
    config.services = vec![web.into(), mail.into()];
    config
}

fn patch(state: &State, service: &str, backend: &str, patch: PatchBackend) -> State {
    let edit = Edit { state, retired: &[], now_ms: 2, rings: 0 };
    edit.patch_backend(service, backend, &patch).unwrap()
}

fn weight(state: &State, service: &str, backend: &str, weight: u32) -> State {
    patch(state, service, backend, PatchBackend { weight: Some(weight), ..Default::default() })
}

#[test]
fn a_first_start_runs_the_file() {
    let state = started(&file());
    assert_eq!(state.interfaces, ["eth0"]);
    assert_eq!(
        state
            .services
            .iter()
            .map(|s| Shared::from(ServiceConfig::from(Outline::from(&**s))))
            .collect::<Vec<_>>(),
        file().services
    );
    let slots: Vec<_> = state.services.iter().flat_map(|s| &s.backends).map(|b| b.slot).collect();
    assert_eq!(slots, [1, 2, 3]);
    assert_eq!(state.services.iter().map(|s| s.id).collect::<Vec<_>>(), [0, 1]);
    assert!(state.services[0].backends.iter().all(|b| b.since_ms == 1 && !b.down && !b.quiesced));
}

#[test]
fn a_weight_changed_in_the_file_wins_over_one_set_by_hand() {
    let running = weight(&weight(&started(&file()), "web", "a", 7), "web", "b", 8);
    let mut new = file();
    new.services[0].backends[0].weight = 3;
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    let weights: Vec<_> = merged.services[0].backends.iter().map(|b| b.config.weight).collect();
    assert_eq!(weights, [3, 8]);
}

#[test]
fn quiesced_and_down_outlast_even_a_changed_weight() {
    let quiesced = PatchBackend { quiesced: Some(true), up: Some(false), ..Default::default() };
    let running = patch(&started(&file()), "web", "a", quiesced);
    let mut new = file();
    new.services[0].backends[0].weight = 3;
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    let a = &merged.services[0].backends[0];
    assert_eq!((a.quiesced, a.down, a.since_ms, a.config.weight), (true, true, 2, 3));
}

#[test]
fn another_address_under_the_same_name_is_another_backend() {
    let by_hand = PatchBackend { weight: Some(9), quiesced: Some(true), ..Default::default() };
    let running = patch(&started(&file()), "web", "a", by_hand);
    let mut new = file();
    new.services[0].backends[0].address = "10.0.0.9".parse().unwrap();
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    let a = &merged.services[0].backends[0];
    assert_eq!((a.slot, a.quiesced, a.config.weight, a.since_ms), (4, false, 10, 9));
    assert_eq!(merged.services[0].backends[1], running.services[0].backends[1]);
}

#[test]
fn another_name_for_the_same_machine_keeps_its_connections() {
    let mut new = file();
    new.services[0].name = "www".to_owned();
    new.services[0].backends[0].name = "first".to_owned();
    let running = started(&file());
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    let (was, is) = (&running.services[0], &merged.services[0]);
    assert_eq!((is.id, is.backends[0].slot), (was.id, was.backends[0].slot));
    assert_eq!(is.backends[0].config.name, "first");
}

#[test]
fn another_port_is_another_service_but_the_same_machines() {
    let by_hand = PatchBackend { weight: Some(9), up: Some(false), ..Default::default() };
    let running = patch(&started(&file()), "web", "a", by_hand);
    let mut new = file();
    new.services[0].port = 8080;
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    let web = &merged.services[0];
    assert_eq!((web.id, web.backends[0].slot, web.backends[1].slot), (2, 4, 5));
    assert_eq!((web.backends[0].config.weight, web.backends[0].down), (9, true));
}

#[test]
fn what_was_removed_at_runtime_comes_back_when_its_entry_changes() {
    let edit = Edit { state: &started(&file()), retired: &[], now_ms: 2, rings: 0 };
    let running = edit.remove_backend("web", "a").unwrap();
    let edit = Edit { state: &running, ..edit };
    let running = edit.remove_service("mail").unwrap();
    assert_eq!(merge(Some(&file()), &file(), &running, &[], 9).unwrap(), running);
    let mut new = file();
    new.services[0].backends[0].weight = 1;
    new.services[1].backends[0].weight = 1;
    let merged = merge(Some(&file()), &new, &running, &[], 9).unwrap();
    assert_eq!(merged.services[0].backends.len(), 2);
    assert_eq!(ServiceConfig::from(Outline::from(&*merged.services[1])), *new.services[1]);
}

#[test]
fn what_the_file_did_not_change_is_the_very_same() {
    let (was, running) = (file(), weight(&started(&file()), "web", "a", 7));
    let mut new = was.clone();
    new.services[1].backends[0].weight = 3;
    let merged = merge(Some(&was), &new, &running, &[], 9).unwrap();
    assert!(merged.services[0].is_same(&running.services[0]));
    // Beside the others it is looked at all the same.
    new.services[1].name = "web".to_owned();
    new.services[1].port = 80;
    new.services[1].vip = new.services[0].vip;
    let errors = merge(Some(&was), &new, &running, &[], 9).unwrap_err();
    assert_eq!(errors.count(), 2, "{errors}");
}

#[test]
fn retired_numbers_are_not_given_out() {
    let retired = [RetiredSlot::new(1, 0), RetiredSlot::new(2, 2)];
    let state = merge(None, &file(), &State::default(), &retired, 1).unwrap();
    assert_eq!(state.services.iter().map(|s| s.id).collect::<Vec<_>>(), [1, 3]);
    let slots: Vec<_> = state.services.iter().flat_map(|s| &s.backends).map(|b| b.slot).collect();
    assert_eq!(slots, [3, 4, 5]);
}

#[test]
fn file_and_runtime_that_do_not_go_together_are_refused() {
    let request = serde_json::json!({ "vip": "192.0.2.99", "port": 1, "protocol": "tcp" });
    let edit = Edit { state: &started(&file()), retired: &[], now_ms: 2, rings: 0 };
    let request = serde_json::from_value(request).unwrap();
    let running = weight(&edit.put_service("tmp", &request, false).unwrap(), "web", "a", 15);
    let mut new = file();
    new.services[0].weight_bound = 12;
    new.services.push(ServiceConfig::from(service("new", "192.0.2.99", 1).config).into());
    let errors = merge(Some(&file()), &new, &running, &[], 9).unwrap_err();
    let hint = "  hint: part of this was set at runtime and outlasts a reload: change it there";
    assert_eq!(
        errors.to_string(),
        format!(
            "backend web/a: weight 15 is above weight_bound 12, expected 0..=12\n{hint}\n\
             service tmp: 192.0.2.99:1/tcp is service new's, expected once\n{hint}"
        )
    );
}

proptest! {
    #[test]
    fn an_unchanged_file_changes_nothing(file in any_config(), acts in any_acts()) {
        let running = after(&started(&file), &acts);
        prop_assert_eq!(merge(Some(&file), &file, &running, &[], 9).unwrap(), running);
    }

    /// Reading only what differs from the former file gives the same result as reading all of it.
    #[test]
    fn shared_services_are_merged_as_others_are(
        old in any_config(), new in any_config(), acts in any_acts(), same in any::<[bool; 3]>(),
    ) {
        let running = after(&started(&old), &acts);
        let mut new = new;
        for service in &mut new.services {
            let at = old.services.iter().position(|was| was.name == service.name);
            if let Some(at) = at.filter(|at| same[*at]) {
                *service = old.services[at].clone();
            }
        }
        let mut anew = new.clone();
        anew.services.iter_mut().for_each(|service| *service = Shared::from((**service).clone()));
        let merged = |file| merge(Some(&old), file, &running, &[], 9);
        prop_assert_eq!(merged(&new), merged(&anew));
    }

    #[test]
    fn a_second_reload_changes_nothing(
        old in any_config(), new in any_config(), acts in any_acts(),
    ) {
        let running = after(&started(&old), &acts);
        let merged = merge(Some(&old), &new, &running, &[], 9).unwrap();
        prop_assert_eq!(merge(Some(&new), &new, &merged, &[], 10).unwrap(), merged);
    }

    #[test]
    fn without_runtime_changes_the_file_runs(old in any_config(), new in any_config()) {
        let merged = merge(Some(&old), &new, &started(&old), &[], 9).unwrap();
        prop_assert_eq!(&merged.interfaces, &new.interfaces);
        let runs: Vec<_> = merged.services.iter().map(|s| Shared::from(ServiceConfig::from(Outline::from(&**s)))).collect();
        prop_assert_eq!(runs, new.services);
    }

    #[test]
    fn a_value_is_the_file_s_where_it_changed_and_the_runtime_s_where_not(
        old in any_config(), new in any_config(), acts in any_acts(),
    ) {
        let running = after(&started(&old), &acts);
        let merged = merge(Some(&old), &new, &running, &[], 9).unwrap();
        for service in &merged.services {
            for backend in &service.backends {
                let (s, b) = (&service.config.name, &backend.config.name);
                let of = |config: &Config| config.service(s)?.backend(b).cloned();
                let runs = running.service(s).and_then(|s| s.backend(b)).map(|b| &b.config);
                let want = match (of(&old), of(&new), runs) {
                    (Some(old), Some(new), Some(runs))
                        if old.weight == new.weight && old.address == new.address => runs.weight,
                    (_, Some(new), _) => new.weight,
                    (None, None, Some(runs)) => runs.weight,
                    other => panic!("{s}/{b} should not run: {other:?}"),
                };
                prop_assert_eq!(backend.config.weight, want);
            }
        }
    }

    /// A slot that connections may remember is the same machine of the same VIP, port and protocol.
    #[test]
    fn numbers_never_change_their_meaning(
        old in any_config(), new in any_config(), acts in any_acts(),
        retired in prop::collection::hash_set((1u32..20, 0u32..6), 0..8),
    ) {
        let running = after(&started(&old), &acts);
        let meaning = |state: &State| -> HashMap<u32, _> {
            let of = |s: &Service| {
                let (id, key) = (s.id, s.config.key());
                s.backends.iter().map(move |b| (b.slot, (id, key, b.config.address))).collect::<Vec<_>>()
            };
            state.services.iter().flat_map(|s| of(s)).collect()
        };
        let before = meaning(&running);
        let retired: Vec<_> = retired
            .into_iter()
            .map(|(slot, service)| RetiredSlot::new(slot, service))
            .filter(|r| !before.contains_key(&r.slot))
            .filter(|r| running.services.iter().all(|s| s.id != r.service))
            .collect();
        let merged = merge(Some(&old), &new, &running, &retired, 9).unwrap();
        let after = meaning(&merged);
        let backends: usize = merged.services.iter().map(|s| s.backends.len()).sum();
        prop_assert_eq!(after.len(), backends, "each slot once");
        let ids: HashSet<_> = merged.services.iter().map(|s| s.id).collect();
        prop_assert_eq!(ids.len(), merged.services.len(), "each id once");
        for (slot, is) in &after {
            prop_assert!(*slot > 0 && retired.iter().all(|r| r.slot != *slot));
            if let Some(was) = before.get(slot) {
                prop_assert_eq!(was, is);
            }
        }
        for service in &merged.services {
            prop_assert!(retired.iter().all(|r| r.service != service.id));
            if let Some(was) = running.services.iter().find(|s| s.id == service.id) {
                prop_assert_eq!(was.config.key(), service.config.key());
            }
        }
        // And what could stay did: a machine that runs on in its service keeps its slot.
        for (slot, was) in &before {
            let stays = after.iter().find(|(_, is)| (is.1, is.2) == (was.1, was.2));
            if let Some((now, _)) = stays {
                prop_assert_eq!(now, slot);
            }
        }
    }
}
