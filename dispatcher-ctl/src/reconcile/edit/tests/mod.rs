//! Changes at runtime, and what is said of those that are refused.

use std::time::Duration;

use super::*;
use crate::{
    api::types::ErrorKind,
    model::{Manager, Protocol, Scheduler},
    reconcile::testing::{backend, file, started},
};

mod backends;
mod services;

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
    started(&file(FILE))
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
