//! Changes at runtime, and what is said of those that are refused.

use std::time::Duration;

use super::*;
use crate::{
    api::types::ErrorKind,
    config,
    model::{Manager, Protocol, Scheduler},
    reconcile::{merge, testing::backend},
};

const FILE: &str = r#"
interfaces = ["eth0"]

[[service]]
name = "web"
vip = "192.0.2.80"
port = 80
protocol = "tcp"
[[service.backend]]
name = "web-1"
address = "10.0.0.11"
[[service.backend]]
name = "web-2"
address = "fd00::12"
weight = 5

[[service]]
name = "tls"
vip = "192.0.2.80"
port = 443
protocol = "tcp"

[[service]]
name = "dns"
vip = "2001:db8::53"
port = 53
protocol = "udp"
"#;

fn state() -> State {
    let file = config::parse(FILE, "lab.toml").unwrap();
    merge(None, &file, &State::default(), &[], 1).unwrap()
}

fn edit(state: &State) -> Edit<'_> {
    Edit { state, retired: &[], now_ms: 7, rings: 0 }
}

fn json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[track_caller]
fn refused(result: Result<State, ApiError>, kind: ErrorKind, error: &str, hint: Option<&str>) {
    let refused = result.unwrap_err();
    assert_eq!((refused.kind, refused.error.as_str()), (kind, error));
    assert_eq!(refused.hint.as_deref(), hint);
}

#[test]
fn services_and_backends_are_found_by_name_and_by_address() {
    let state = state();
    for (wanted, name) in [
        ("web", "web"),
        ("192.0.2.80:443", "tls"),
        ("192.0.2.80:80/tcp", "web"),
        ("2001:db8::53", "dns"),
        ("2001:db8:0::53", "dns"),
        ("[2001:db8::53]:53", "dns"),
        ("[2001:db8::53]:53/udp", "dns"),
    ] {
        assert_eq!(find_service(&state, wanted).unwrap().config.name, name, "{wanted}");
    }
    let web = &state.services[0];
    for (wanted, slot) in [("web-2", 2), ("10.0.0.11", 1), ("FD00::12", 2)] {
        assert_eq!(find_backend(web, wanted).unwrap().slot, slot, "{wanted}");
    }
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let state = state();
    refused(
        edit(&state).remove_service("mail"),
        ErrorKind::NotFound,
        "service mail is unknown, expected a service's name or address",
        Some("services: web, tls, dns"),
    );
    refused(
        edit(&state).remove_service("192.0.2.80:81"),
        ErrorKind::NotFound,
        "service 192.0.2.80:81 is unknown, expected a service's name or address",
        Some("services: web, tls, dns"),
    );
    refused(
        edit(&state).remove_service("192.0.2.80"),
        ErrorKind::Conflict,
        "192.0.2.80 is the address of several services, expected a name",
        Some("one of web, tls"),
    );
    refused(
        edit(&state).remove_backend("web", "web\n3"),
        ErrorKind::NotFound,
        "backend web/\"web\\n3\" is unknown, expected a backend's name or address",
        Some("backends: web-1, web-2"),
    );
    refused(
        edit(&state).remove_backend("dns", "a"),
        ErrorKind::NotFound,
        "backend dns/a is unknown, expected a backend's name or address",
        Some("there are no backends"),
    );
    refused(
        edit(&state).detach("eth7"),
        ErrorKind::NotFound,
        "interface \"eth7\" is not attached",
        Some("NICs: eth0"),
    );
}

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
fn the_manager_is_set_in_parts_and_checked() {
    let state = state();
    let patch =
        json(serde_json::json!({ "enabled": true, "interval": 0.5, "report_timeout": "30s" }));
    let changed = edit(&state).patch_manager(&patch).unwrap();
    let want = Manager {
        enabled: true,
        interval: Duration::from_millis(500),
        report_timeout: Some(Duration::from_secs(30)),
        ..Manager::default()
    };
    assert_eq!((changed.manager, &changed.services), (want, &state.services));
    let patch = json(serde_json::json!({ "report_timeout": null, "smoothing": 3 }));
    let again = edit(&changed).patch_manager(&patch).unwrap().manager;
    assert_eq!((again.report_timeout, again.smoothing, again.enabled), (None, 3.0, true));
    refused(
        edit(&state).patch_manager(&json(serde_json::json!({ "refresh": 0 }))),
        ErrorKind::Invalid,
        "manager: refresh 0 is out of range, expected 1..=1000",
        None,
    );
}

/// The short way to a change of a backend leads where the long one does.
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
        (with(0), "deadline 0 is no time, expected more than 0 s"),
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
fn services_come_change_and_go() {
    let state = state();
    let mail = serde_json::json!({
        "vip": "192.0.2.25", "port": 25, "protocol": "tcp", "scheduler": "rr"
    });
    let added = edit(&state).put_service("mail", &json(mail.clone()), false).unwrap();
    let service = added.service("mail").unwrap();
    assert_eq!((service.id, service.config.scheduler), (3, Scheduler::Rr));
    refused(
        edit(&added).put_service("mail", &json(mail), false),
        ErrorKind::Conflict,
        "service mail is there already, expected a new name",
        Some("service set changes one that is there"),
    );
    let patch = json(serde_json::json!({ "scheduler": "wrr", "stale_timeout": 60 }));
    let patched = edit(&added).patch_service("192.0.2.25:25", &patch).unwrap();
    assert_eq!(patched.service("mail").unwrap().config.stale_timeout.as_secs(), 60);
    assert_eq!(edit(&patched).remove_service("mail").unwrap(), state);
}

#[test]
fn a_replaced_service_keeps_its_backends() {
    let state = state();
    let same_key = serde_json::json!({ "vip": "192.0.2.80", "port": 80, "protocol": "tcp",
        "scheduler": "rr" });
    let replaced = edit(&state).put_service("web", &json(same_key), true).unwrap();
    assert_eq!(replaced.services[0].backends, state.services[0].backends);
    assert_eq!(replaced.services[0].config.scheduler, Scheduler::Rr);
    let moved = serde_json::json!({ "vip": "192.0.2.81", "port": 80, "protocol": "udp" });
    let replaced = edit(&state).put_service("web", &json(moved), true).unwrap();
    let web = &replaced.services[0];
    assert_eq!(
        (web.id, web.config.protocol, web.config.stale_timeout.as_secs()),
        (3, Protocol::Udp, 30)
    );
    assert_eq!(web.backends.iter().map(|b| b.slot).collect::<Vec<_>>(), [3, 4]);
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
        Some("backend set changes one that is there"),
    );
    assert_eq!(edit(&added).remove_backend("web", "10.0.0.13").unwrap(), state);
}

#[test]
fn several_errors_are_all_listed() {
    let state = state();
    let request = serde_json::json!({ "vip": "192.0.2.80", "port": 80, "protocol": "tcp",
        "weight_bound": 0, "syn_timeout": 0 });
    let refused = edit(&state).put_service("web 2", &json(request), false).unwrap_err();
    assert_eq!(refused.error, "4 values are not valid");
    assert_eq!(
        refused.errors,
        [
            "service \"web 2\": name \"web 2\" is not valid, expected 1 to 63 of A-Z a-z 0-9 '_' \
             '.' '-'",
            "service \"web 2\": syn_timeout 0s is zero, expected more than 0s and at most 4h",
            "service \"web 2\": weight_bound 0 is out of range, expected 1..=100",
            "service \"web 2\": 192.0.2.80:80/tcp is service web's, expected once",
        ]
    );
}

#[test]
fn nics_come_and_go() {
    let state = state();
    let attached = edit(&state).attach("eth1").unwrap();
    assert_eq!(attached.interfaces, ["eth0", "eth1"]);
    assert_eq!(edit(&attached).attach("eth1").unwrap(), attached);
    assert_eq!(edit(&attached).detach("eth1").unwrap(), state);
    edit(&state).attach("no such/nic").unwrap_err();
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
fn a_service_that_another_is_linked_with_stays() {
    let linked = FILE.replacen(
        "port = 80\n",
        "port = 80\naffinity = { timeout = \"60s\", cross_port = [443] }\n",
        1,
    );
    let linked = linked.replace("port = 443\n", "port = 443\naffinity.timeout = \"60s\"\n");
    let file = config::parse(&linked, "lab.toml").unwrap();
    let state = merge(None, &file, &State::default(), &[], 1).unwrap();
    let error = edit(&state).remove_service("tls").unwrap_err();
    let said = format!("{} {}", error.error, error.errors.join(" "));
    assert!(said.contains("cross_port 443 is no port of another service"), "{said}");
    edit(&state).remove_service("web").unwrap();
}

#[test]
fn rules_outlast_changes_at_runtime_and_hold_on_to_their_backends() {
    let rule = "[[service.rule]]\nname = \"office\"\npriority = 1\nalways = true\nbackends = [\"web-2\"]\n";
    let (head, tail) = FILE.split_at(FILE.find("[[service]]\nname = \"tls\"").unwrap());
    let file = config::parse(&format!("{head}{rule}{tail}"), "lab.toml").unwrap();
    let state = merge(None, &file, &State::default(), &[], 1).unwrap();
    let before = state.services[0].rules.clone();
    assert_eq!((before[0].id, before[0].config.name.as_str()), (0, "office"));
    let patch = PatchService { scheduler: Some(Scheduler::Lc), ..Default::default() };
    let state = edit(&state).patch_service("web", &patch).unwrap();
    let put = json(serde_json::json!({ "vip": "192.0.2.80", "port": 80, "protocol": "tcp" }));
    let state = edit(&state).put_service("web", &put, true).unwrap();
    assert_eq!(state.services[0].rules, before);
    refused(
        edit(&state).remove_backend("web", "web-2"),
        ErrorKind::Conflict,
        "backend web/web-2 is named by rule office",
        Some("quiesce it, or take it out of the rule in the file and reload"),
    );
    edit(&state).remove_backend("web", "web-1").unwrap();
    // Another port is another service: its rules begin anew.
    let moved = json(serde_json::json!({ "vip": "192.0.2.80", "port": 81, "protocol": "tcp" }));
    let moved = edit(&state).put_service("web", &moved, true).unwrap();
    assert_eq!(moved.services[0].rules[0].id, 1);
    assert_eq!(moved.services[0].rules[0].config, before[0].config);
}

#[test]
fn affinity_is_set_in_parts_and_replaced_whole() {
    let start = state();
    let of = |state: &State, name: &str| state.service(name).unwrap().config.affinity.clone();
    let patch = |state: &State, service: &str, affinity: serde_json::Value| {
        edit(state).patch_service(service, &json(serde_json::json!({ "affinity": affinity })))
    };
    let one = patch(&start, "web", serde_json::json!({ "timeout": "5m", "mask_v4": 24 })).unwrap();
    let other = patch(&one, "web", serde_json::json!({ "mask_v6": 64 })).unwrap();
    let web = of(&other, "web");
    assert_eq!((web.timeout.as_secs(), web.mask_v4, web.mask_v6), (300, 24, 64));
    assert_eq!(of(&other, "tls"), crate::model::Affinity::default());
    // Linked services agree on timeout and masks: the one that links itself brings them.
    let alone = serde_json::json!({ "timeout": "5m", "cross_port": [80] });
    let error = patch(&other, "tls", alone).unwrap_err();
    let said = format!("{} {}", error.error, error.errors.join(" "));
    assert!(said.contains("linked by cross_port, expected"), "{said}");
    let all =
        serde_json::json!({ "timeout": 300, "mask_v4": 24, "mask_v6": 64, "cross_port": [80] });
    let linked = patch(&other, "tls", all).unwrap();
    assert_eq!(of(&linked, "tls").cross_port, [80]);
    let apart = patch(&linked, "tls", serde_json::json!({ "cross_port": [] })).unwrap();
    assert_eq!((of(&apart, "tls").cross_port.len(), of(&apart, "tls").mask_v4), (0, 24));
    // A PUT says all of a service: what it does not say is the default.
    let bare = serde_json::json!({ "vip": "192.0.2.80", "port": 80, "protocol": "tcp" });
    let bare = edit(&apart).put_service("web", &json(bare), true).unwrap();
    assert_eq!(of(&bare, "web"), crate::model::Affinity::default());
    let said = serde_json::json!({
        "vip": "192.0.2.80", "port": 80, "protocol": "tcp", "affinity": { "timeout": "60s" },
    });
    let said = edit(&apart).put_service("web", &json(said), true).unwrap();
    assert_eq!((of(&said, "web").timeout.as_secs(), of(&said, "web").mask_v4), (60, 32));
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
