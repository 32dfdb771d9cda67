//! Changes of backends.

use super::*;

#[test]
fn a_weight_by_hand_is_fixed_until_it_is_managed() {
    let mut state = state();
    state.manager.enabled = true;
    state.services[0].backends[0].managed = Some(17);
    let mut only = |patch: serde_json::Value| {
        state = edit(&state).patch_backend("web", "web-1", &json(patch)).unwrap();
        let only = &mut state.services[0].backends[0];
        let shown = (only.weight(), only.is_fixed(), only.config.fixed_weight);
        // What the manager would do.
        only.managed = if only.is_fixed() { None } else { Some(15) };
        shown
    };
    let patch = |text: &str| serde_json::from_str(text).unwrap();
    assert_eq!(only(patch(r#"{"quiesced": false}"#)), (17, false, false));
    assert_eq!(only(patch(r#"{"weight": 4}"#)), (4, true, false));
    assert_eq!(only(patch(r#"{"weight": 6, "fixed_weight": false}"#)), (6, false, false));
    assert_eq!(only(patch(r#"{"weight": 6, "fixed_weight": true}"#)), (6, true, true));
    assert_eq!(only(patch(r#"{"fixed_weight": false}"#)), (6, false, false));
}

#[test]
fn a_backend_alone_is_changed_and_checked_like_all() {
    let mut state = state();
    state.manager.enabled = true;
    (state.services[0].backends[0].managed, state.services[0].backends[0].weight_by_hand) =
        (Some(17), true);
    for patch in [
        r#"{"weight": 4}"#,
        r#"{"weight": 10}"#,
        r#"{"weight": 21}"#,
        r#"{"weight": 21, "max_connections": 4000000000}"#,
        r#"{"mac": "01:00:00:00:00:01"}"#,
        r#"{"mac": "02:00:00:00:00:01", "sorry": true, "sticky": false}"#,
        r#"{"quiesced": true, "now": true}"#,
        r#"{"up": false, "fixed_weight": true}"#,
    ] {
        let patch: PatchBackend = serde_json::from_str(patch).unwrap();
        let all = edit(&state).change_service(0, |service| patch.apply(&mut service.backends[1]));
        let alone = edit(&state).change_backend(0, 1, &patch);
        assert_eq!(alone, all, "{patch:?}");
        if let Ok(alone) = alone {
            assert!(alone.services[1].is_same(&state.services[1]), "nothing else was touched");
        }
    }
    // What all schedules take together is known, and counts.
    let weight = |weight| json::<PatchBackend>(serde_json::json!({ "weight": weight }));
    let crowded = Edit { rings: 1 << 20, ..edit(&state) };
    let message = "1048594 schedule slots of all services are too many, expected 1048576";
    refused(crowded.patch_backend("web", "web-2", &weight(11)), ErrorKind::Invalid, message, None);
    crowded.patch_backend("web", "web-2", &weight(10)).unwrap();
}

#[test]
fn a_weight_by_hand_goes_from_nothing_to_the_bound() {
    let state = state();
    for weight in [0, 1, 20] {
        let patch = json(serde_json::json!({ "weight": weight }));
        let changed = edit(&state).patch_backend("web", "web-1", &patch).unwrap();
        let mut want = state.clone();
        let only = &mut want.services[0].backends[0];
        (only.config.weight, only.weight_by_hand) = (weight, true);
        assert_eq!(changed, want);
    }
    let patch = json(serde_json::json!({ "weight": 21, "quiesced": true }));
    refused(
        edit(&state).patch_backend("web", "web-1", &patch),
        ErrorKind::Invalid,
        "backend web/web-1: weight 21 is above weight_bound 20, expected 0..=20",
        None,
    );
}

#[test]
fn quiesce_and_down_say_since_when() {
    let state = state();
    let patch = |value| json(value);
    let same = patch(serde_json::json!({ "quiesced": false, "up": true }));
    assert_eq!(edit(&state).patch_backend("web", "web-1", &same).unwrap(), state);
    let down = patch(serde_json::json!({ "up": false }));
    let changed = edit(&state).patch_backend("web", "web-1", &down).unwrap();
    let backend = &changed.services[0].backends[0];
    assert_eq!((backend.down, backend.quiesced, backend.since_ms), (true, false, 7));
    assert_eq!(changed.services[0].backends[1], state.services[0].backends[1]);
}

#[test]
fn quiesce_may_have_a_deadline_which_goes_with_it() {
    let state = state();
    let patch = |state: &State, value| edit(state).patch_backend("web", "web-1", &json(value));
    let of = |state: &State| {
        let backend = &state.services[0].backends[0];
        (backend.quiesced, backend.quiesced_now, backend.quiesce_deadline_ms)
    };
    let with =
        |deadline| serde_json::json!({ "quiesced": true, "now": true, "deadline": deadline });
    // The edit is made at 7 ms.
    let state = patch(&state, with(5)).unwrap();
    assert_eq!(of(&state), (true, true, Some(5_007)));
    let other = patch(&state, serde_json::json!({ "weight": 3 })).unwrap();
    assert_eq!(of(&other), (true, true, Some(5_007)), "what is not said stays");
    let anew = patch(&state, serde_json::json!({ "quiesced": true })).unwrap();
    assert_eq!(of(&anew), (true, false, None));
    let none = patch(&state, serde_json::json!({ "quiesced": false })).unwrap();
    assert_eq!(of(&none), (false, false, None));
    for (bad, why) in [
        (with(0), "deadline 0 is not valid, expected more than 0 s"),
        (
            serde_json::json!({ "quiesced": false, "deadline": 5 }),
            "deadline is for quiesce, expected quiesced true",
        ),
        (serde_json::json!({ "deadline": 5 }), "deadline is for quiesce, expected quiesced true"),
    ] {
        refused(patch(&state, bad), ErrorKind::Invalid, why, None);
    }
}

#[test]
fn an_address_that_changes_is_another_backend() {
    let state = state();
    let quiesced = json(serde_json::json!({ "quiesced": true }));
    let state = edit(&state).patch_backend("web", "web-1", &quiesced).unwrap();
    let moved = json(serde_json::json!({ "address": "10.0.0.99" }));
    let changed = edit(&state).patch_backend("web", "web-1", &moved).unwrap();
    let backend = &changed.services[0].backends[0];
    assert_eq!((backend.slot, backend.quiesced, backend.config.weight), (3, false, 10));
    let taken = json(serde_json::json!({ "address": "fd00::12" }));
    refused(
        edit(&state).patch_backend("web", "web-1", &taken),
        ErrorKind::Invalid,
        "backend web/web-2: address fd00::12 is backend web-1's, expected once",
        None,
    );
}

#[test]
fn backends_come_and_go() {
    let state = state();
    let third = serde_json::json!({ "address": "10.0.0.13" });
    let added = edit(&state).put_backend("web", "web-3", &json(third.clone()), false).unwrap();
    let backend = added.services[0].backend("web-3").unwrap();
    assert_eq!((backend.slot, backend.config.weight, backend.since_ms), (3, 10, 7));
    refused(
        edit(&added).put_backend("web", "web-3", &json(third), false),
        ErrorKind::Conflict,
        "backend web/web-3 is there already, expected a new name",
        Some("backend set changes an existing one"),
    );
    assert_eq!(edit(&added).remove_backend("web", "10.0.0.13").unwrap(), state);
}

/// Not a measurement, but far beyond what a command may take: 50 ms.
#[test]
fn a_full_table_is_still_changed_in_time() {
    let mut state = State::default();
    for i in 0..16u8 {
        let request = serde_json::json!({ "vip": format!("192.0.2.{i}"), "port": 80,
            "protocol": "tcp" });
        state = edit(&state).put_service(&format!("s{i}"), &json(request), false).unwrap();
        for j in 0..1023u32 {
            let address = format!("10.{i}.{}.{}", j / 256, j % 256);
            let mut backend = backend(&format!("backend-{j}"), &address);
            backend.slot = u32::from(i) * 1023 + j + 1;
            state.services[usize::from(i)].backends.push(backend);
        }
    }
    let patch = json(serde_json::json!({ "weight": 3 }));
    let started = std::time::Instant::now();
    let changed = edit(&state).patch_backend("s15", "backend-1022", &patch).unwrap();
    let took = started.elapsed();
    assert_eq!(changed.services[15].backends[1022].config.weight, 3);
    assert!(took.as_millis() < 5000, "{took:?}");
    println!("a weight among 16,368 backends: {took:?}");
}

#[test]
fn clients_are_moved_by_quiescing_now_until_it_is_said_otherwise() {
    let start = state();
    let patch = |state: &State, body| {
        let state = edit(state).patch_backend("web", "web-1", &json(body)).unwrap();
        let backend = &state.services[0].backends[0];
        let flags = (backend.quiesced, backend.quiesced_now);
        (state, flags)
    };
    let (moved, flags) = patch(&start, serde_json::json!({ "quiesced": true, "now": true }));
    assert_eq!(flags, (true, true));
    assert_eq!(patch(&moved, serde_json::json!({ "weight": 3 })).1, (true, true));
    assert_eq!(patch(&moved, serde_json::json!({ "quiesced": true })).1, (true, false));
    assert_eq!(patch(&moved, serde_json::json!({ "quiesced": false })).1, (false, false));
    let alone = json(serde_json::json!({ "now": true }));
    refused(
        edit(&start).patch_backend("web", "web-1", &alone),
        ErrorKind::Invalid,
        "now says how to quiesce, expected quiesced true",
        None,
    );
}

#[test]
fn a_backend_is_sticky_unless_it_is_said_otherwise() {
    let start = state();
    let sticky = |state: &State, name| {
        let service = state.service("web").unwrap();
        service.backend(name).unwrap().config.sticky
    };
    let not = json(serde_json::json!({ "sticky": false }));
    let patched = edit(&start).patch_backend("web", "web-1", &not).unwrap();
    assert_eq!((sticky(&start, "web-1"), sticky(&patched, "web-1")), (true, false));
    let other = json(serde_json::json!({ "weight": 3 }));
    assert!(!sticky(&edit(&patched).patch_backend("web", "web-1", &other).unwrap(), "web-1"));
    let put = |text| edit(&patched).put_backend("web", "web-1", &json(text), true).unwrap();
    assert!(sticky(&put(serde_json::json!({ "address": "10.0.0.11" })), "web-1"));
    let said = serde_json::json!({ "address": "10.0.0.11", "sticky": false });
    assert!(!sticky(&put(said), "web-1"));
}
