//! The server over a real Unix socket: statuses, bodies, errors, and that they agree with the description.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use dispatcher_ctl::api::{description, server::Patience, types::Status};
use serde_json::{Value, json};
use support::Daemon;

mod support;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Sends one request; returns status and body of the answer.
fn request(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let (method, length) = (method.to_uppercase(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    // A server that has answered need not read the rest of a body: only the answer counts.
    drop(stream.write_all(request.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let json = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    (status, json)
}

#[test]
fn what_is_asked_is_answered() {
    let daemon = Daemon::start();
    let get = |path: &str| request(&daemon, "GET", path, "");
    let (status, body) = get("/v1/status");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_value::<Status>(body.clone()).unwrap(), support::sample());
    assert_eq!(get("/v1/interfaces"), (200, body["interfaces"].clone()));
    assert_eq!(get("/v1/interfaces/eth0"), (200, body["interfaces"][0].clone()));
    assert_eq!(get("/v1/services"), (200, body["services"].clone()));
    assert_eq!(get("/v1/services/web"), (200, body["services"][0].clone()));
    let dns = "/v1/services/2001%3Adb8%3A%3A53";
    assert_eq!(get(dns), (200, body["services"][1].clone()));
    assert_eq!(get(&format!("{dns}/backends")), (200, body["services"][1]["backends"].clone()));
    let backend = get("/v1/services/web/backends/10.0.0.12").1;
    assert_eq!((&backend["name"], &backend["quiesced"]), (&json!("web-2"), &json!(true)));
    let (_, few) = get("/v1/connections?service=web&client=198.51.100.7&limit=1");
    assert_eq!(
        (few["connections"].as_array().unwrap().len(), &few["truncated"]),
        (1, &json!(true))
    );
    assert_eq!(get("/v1/plan").1["changes"][1]["action"], "change");
    assert_eq!(get("/v1/openapi.json").1["openapi"], "3.1.0");
    assert_eq!(daemon.changes(), [""; 0], "reading changes nothing");
}

#[test]
fn a_long_list_of_connections_is_told_page_by_page() {
    let daemon = Daemon::start();
    for (limit, count, truncated) in [
        (30_000, 25_000, false),
        (25_000, 25_000, false),
        (20_001, 20_001, true),
        (10_001, 10_001, true),
        (10_000, 10_000, true),
        (0, 0, true),
    ] {
        let verb = format!("connections --client {} --limit {limit} -o json", support::MANY);
        let body: Value = serde_json::from_slice(&daemon.cli(&verb).stdout).unwrap();
        assert_eq!(body["truncated"], truncated, "{limit}");
        let all = body["connections"].as_array().unwrap();
        assert_eq!(all.len(), count, "{limit}");
        assert!(all.iter().enumerate().all(|(i, c)| c["client_port"] == i), "{limit}: in order");
    }
}

#[test]
fn times_are_numbers_of_seconds() {
    let web = serde_json::to_value(&support::sample().services[0]).unwrap();
    assert_eq!((&web["stale_timeout"], &web["fin_timeout"]), (&json!(300), &json!(1.5)));
}

#[test]
fn changes_arrive_as_they_were_sent() {
    let daemon = Daemon::start();
    let web1 = "/v1/services/web/backends/web-1";
    let (status, body) = request(
        &daemon,
        "PATCH",
        &format!("{web1}?save=true"),
        r#"{"weight": 4, "quiesced": false, "up": true}"#,
    );
    assert_eq!((status, &body["weight"]), (200, &json!(4)));
    assert_eq!(
        daemon.changes(),
        [
            "patch backend web/web-1 PatchBackend { address: None, mac: None, weight: Some(4), fixed_weight: None, sorry: None, local: None, \
          max_connections: None, sticky: None, quiesced: Some(false), now: None, deadline: None, up: Some(true) } save=true"
        ]
    );
    let service = r#"{"vip": "192.0.2.81", "port": 443, "protocol": "tcp", "stale_timeout": "5m"}"#;
    assert_eq!(request(&daemon, "POST", "/v1/services/tls", service).0, 201);
    assert_eq!(request(&daemon, "POST", "/v1/services/tls", service).0, 409);
    assert_eq!(request(&daemon, "PUT", "/v1/services/tls", service).0, 200);
    let changes = daemon.changes();
    assert_eq!(changes.len(), 2);
    assert!(changes[0].contains("stale_timeout: Some(Seconds(300s))"), "{changes:?}");
    assert!(changes[0].ends_with("replace=false save=false"), "{changes:?}");
    assert!(changes[1].ends_with("replace=true save=false"), "{changes:?}");
    let backend = r#"{"address": "10.0.0.19", "mac": "02:00:00:00:00:19"}"#;
    assert_eq!(request(&daemon, "PUT", "/v1/services/web/backends/web-9", backend).0, 200);
    assert_eq!(
        request(&daemon, "DELETE", "/v1/services/web/backends/web-9", ""),
        (204, Value::Null)
    );
    assert_eq!(request(&daemon, "DELETE", "/v1/services/web/backends/web-9", "").0, 404);
    assert_eq!(request(&daemon, "DELETE", "/v1/services/tls", ""), (204, Value::Null));
    assert_eq!(request(&daemon, "POST", "/v1/interfaces/eth2", r#"{"mode": "generic"}"#).0, 201);
    assert_eq!(request(&daemon, "POST", "/v1/interfaces/eth3", "").0, 201);
    assert_eq!(request(&daemon, "DELETE", "/v1/interfaces/eth3", ""), (204, Value::Null));
    assert_eq!(request(&daemon, "POST", "/v1/reload", "").0, 200);
}

#[test]
fn refusals_say_what_was_expected_and_change_nothing() {
    let daemon = Daemon::start();
    let web1 = "/v1/services/web/backends/web-1";
    let cases = [
        ("GET", "/v1/nothing", "", 404, "path /v1/nothing: is unknown"),
        ("GET", "/v1/services/", "", 404, "path /v1/services/: is unknown"),
        ("POST", "/v1/status", "", 405, "method POST: is not allowed for /v1/status"),
        ("GET", "/v1/services/nope", "", 404, "service nope: is not there"),
        ("GET", "/v1/interfaces/nope0", "", 404, "interface nope0: "),
        ("PATCH", web1, r#"{"weight": 21}"#, 422, "weight 21 is above weight_bound 20"),
        ("PATCH", web1, r#"{"wieght": 2}"#, 422, "body: unknown field `wieght`, expected one of"),
        (
            "PATCH",
            web1,
            r#"{"weight": -1}"#,
            422,
            "body: weight: invalid value: integer `-1`, expected a whole number from 0 to",
        ),
        ("PATCH", web1, r#"{"weight": "#, 400, "body: EOF while parsing"),
        ("PATCH", web1, "[1, true]", 422, "body: invalid type: sequence, expected an object"),
        ("PATCH", &format!("{web1}?sav=true"), "{}", 400, "query: sav: unknown field `sav`"),
        ("PUT", "/v1/services/x", "{}", 422, "body: missing field `vip`"),
        (
            "PATCH",
            "/v1/services/web",
            r#"{"proportions": [50, 50, 0, 0]}"#,
            422,
            "expected an object",
        ),
        ("PATCH", "/v1/services/web", r#"{"affinity": [5]}"#, 422, "expected an object"),
        ("PATCH", "/v1/manager", r#"{"proportions": [50, 50, 0, 0]}"#, 422, "expected an object"),
        ("PATCH", "/v1/services/web", r#"{"scheduler": 5}"#, 422, "integer `5`, expected a string"),
        ("PATCH", web1, "5", 422, "body: invalid type: integer `5`, expected an object"),
        ("POST", "/v1/plan", "a = \0", 422, "body: 1:5: a NUL byte"),
        ("GET", "/v1/status?x=1", "", 400, "query: x: unknown field `x`"),
        ("GET", "/v1/connections?limit=many", "", 400, "query: limit: expected a whole number"),
        ("GET", "/v1/services/%ff", "", 400, "path: "),
        ("POST", "/v1/interfaces/nodriver0", "", 500, "driver dummy has no native xdp"),
    ];
    for (method, path, body, want, said) in cases {
        let (status, answer) = request(&daemon, method, path, body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert_eq!(status, want, "{method} {path} {body}: {answer}");
        assert!(error.contains(said), "{method} {path} {body}: {answer}");
        assert!(!error.contains('\n'), "{answer}");
    }
    let (status, answer) = request(&daemon, "POST", "/v1/plan?file=x.toml", "bad = 1");
    assert_eq!((status, answer["errors"].as_array().unwrap().len()), (422, 2));
    assert_eq!(answer["errors"][0], "x.toml:1:1: bad: unknown key");
    assert_eq!(daemon.changes(), [""; 0]);
}

#[test]
fn a_body_without_end_is_refused() {
    let daemon = Daemon::start();
    let long = " ".repeat((16 << 20) + 1);
    let (status, answer) = request(&daemon, "POST", "/v1/plan", &long);
    assert_eq!(status, 413);
    assert!(answer["error"].as_str().unwrap().starts_with("body: "), "{answer}");
}

#[test]
fn garbage_and_silent_clients_hinder_nobody() {
    let mut daemon = Daemon::start();
    let mut garbage = UnixStream::connect(&daemon.socket).unwrap();
    garbage.write_all(b"\x16\x03\x01 not http\r\n\r\n").unwrap();
    let _silent = UnixStream::connect(&daemon.socket).unwrap();
    assert_eq!(request(&daemon, "GET", "/v1/status", "").0, 200);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed().as_secs() < 5, "stopping took {:?}", begin.elapsed());
    assert!(!daemon.socket.exists(), "the socket's file stays behind");
}

/// What a connection sends until its other end closes it, and how long that takes.
fn until_closed(mut stream: UnixStream) -> (String, Duration) {
    let begin = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    (String::from_utf8(said).unwrap(), begin.elapsed())
}

#[test]
fn a_client_that_tarries_is_cut_off() {
    let [head, body] = [Duration::from_millis(300); 2];
    let patience = Patience { head, body, ..Patience::default() };
    let daemon = Daemon::start_with(patience);
    let path = "/v1/plan";
    let half_body = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf");
    let whole = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    for (what, sent, answer) in [
        ("silent", "", ""),
        ("half a head", "GET /v1/status HT", ""),
        ("half a body", half_body.as_str(), "HTTP/1.1 408 "),
        ("idle after an answer", whole, "HTTP/1.1 200 "),
    ] {
        let mut stream = UnixStream::connect(&daemon.socket).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let (said, after) = until_closed(stream);
        assert!(said.starts_with(answer) && said.is_empty() == answer.is_empty(), "{what}: {said}");
        assert!(after >= Duration::from_millis(250), "{what}: {after:?}");
        assert!(after < Duration::from_secs(5), "{what}: {after:?}");
    }
}

#[test]
fn a_connection_in_use_outlasts_the_patience() {
    let patience = Patience { head: Duration::from_millis(600), ..Patience::default() };
    let daemon = Daemon::start_with(patience);
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let length_of_answer = description().0.to_string().len();
    let mut answer = vec![0; length_of_answer + 1_000];
    for _ in 0..4 {
        stream.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut length = 0;
        while length < length_of_answer {
            length += stream.read(&mut answer[length..]).unwrap();
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every route of the description is served, and no method that the description lacks.
#[test]
fn the_description_has_the_routes() {
    let daemon = Daemon::start();
    for (path, operations) in description().0["paths"].as_object().unwrap() {
        let real = path
            .replace("{service}", "web")
            .replace("{backend}", "web-1")
            .replace("{interface}", "eth0");
        for method in METHODS {
            let described = operations.get(method).is_some();
            if path == "/v1/events" && described {
                // An answer without end: tests/events.rs tests it.
                continue;
            }
            let (status, answer) = request(&daemon, method, &real, "{}");
            assert_eq!(status != 405, described, "{method} {path}: {status} {answer}");
            assert!(
                !(described
                    && status == 404
                    && answer["error"].as_str().unwrap().starts_with("path"))
            );
        }
    }
}

/// Answers with all fields fit the schemas of the description.
#[test]
fn answers_fit_the_description() {
    let mut status = serde_json::to_value(support::sample()).unwrap();
    let connections = json!({ "connections": support::connections(), "truncated": false });
    let plan = serde_json::to_value(support::plan()).unwrap();
    let error = json!({ "error": "x", "hint": "y", "errors": ["z"] });
    for (name, value) in
        [("Status", &status), ("Connections", &connections), ("Plan", &plan), ("ApiError", &error)]
    {
        support::fits(name, value).unwrap();
    }
    // An answer that lacks a field does not fit.
    status["services"][0]["backends"][0].as_object_mut().unwrap().remove("agent");
    support::fits("Status", &status).unwrap_err();
    let wrong = json!({ "changes": [{ "action": "x", "object": "y", "detail": "" }], "notes": [] });
    support::fits("Plan", &wrong).unwrap_err();
}
