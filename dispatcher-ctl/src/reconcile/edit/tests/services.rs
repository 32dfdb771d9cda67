//! Changes of services, with their rules and affinity.

use super::*;

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
        Some("service set changes an existing one"),
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
fn a_service_that_another_is_linked_with_stays() {
    let linked = FILE.replacen(
        "port = 80\n",
        "port = 80\naffinity = { timeout = \"60s\", cross_port = [443] }\n",
        1,
    );
    let linked = linked.replace("port = 443\n", "port = 443\naffinity.timeout = \"60s\"\n");
    let state = started(&file(&linked));
    let error = edit(&state).remove_service("tls").unwrap_err();
    let said = format!("{} {}", error.error, error.errors.join(" "));
    assert!(said.contains("cross_port 443 is no port of another service"), "{said}");
    edit(&state).remove_service("web").unwrap();
}

#[test]
fn rules_outlast_changes_at_runtime_and_hold_on_to_their_backends() {
    let rule = "[[service.rule]]\nname = \"office\"\npriority = 1\nalways = true\nbackends = [\"web-2\"]\n";
    let (head, tail) = FILE.split_at(FILE.find("[[service]]\nname = \"tls\"").unwrap());
    let state = started(&file(&format!("{head}{rule}{tail}")));
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
    // Another port is another service: its rules start again.
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
