//! The stream of events over a real Unix socket: its contents, its listeners, and its end.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use dispatcher_ctl::api::{
    description,
    types::{ChangedBy, Event, EventKind, WeightNumbers},
};
use serde_json::Value;
use support::Daemon;

mod support;

/// Sends a request for events; returns the answer's head and the stream.
fn listen(daemon: &Daemon, query: &str) -> (String, BufReader<UnixStream>) {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET /v1/events{query} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (mut answer, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut head).unwrap(), 0, "{head}");
    }
    (head, answer)
}

/// The next event: its id and word in the stream, and its data.
fn next(answer: &mut BufReader<UnixStream>) -> (String, String, Value) {
    let (mut id, mut word) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0, "the stream ended");
        if let Some(it) = line.strip_prefix("id: ") {
            id = it.trim().to_owned();
        } else if let Some(it) = line.strip_prefix("event: ") {
            word = it.trim().to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            return (id, word, serde_json::from_str(data).unwrap());
        }
    }
}

fn weight(id: u64, service: &str) -> Event {
    let kind = EventKind::WeightChanged {
        service: service.to_owned(),
        backend: "web-1".to_owned(),
        from: 10,
        to: 3,
        by: ChangedBy::Manager,
        numbers: Some(WeightNumbers::default()),
    };
    Event { id, time: 1e9, kind }
}

#[test]
fn events_are_told_with_id_word_and_data() {
    let daemon = Daemon::start();
    let (head, mut all) = listen(&daemon, "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let (_, mut of_dns) = listen(&daemon, "?service=dns");
    let tell = |event| daemon.memory.events.send(event).unwrap();
    tell(weight(7, "web"));
    tell(Event { id: 8, time: 1e9, kind: EventKind::Reloaded { changes: 2 } });
    tell(weight(9, "dns"));
    let (id, word, data) = next(&mut all);
    assert_eq!((id.as_str(), word.as_str()), ("7", "weight_changed"));
    assert_eq!(serde_json::from_value::<Event>(data).unwrap(), weight(7, "web"));
    assert_eq!(next(&mut all).2["event"], "reloaded");
    assert_eq!(next(&mut all).0, "9");
    assert_eq!(next(&mut of_dns).0, "9", "only those of the service that was asked for");
    let (head, _) = listen(&daemon, "?service=none");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[test]
fn a_slow_reader_learns_what_it_missed_and_holds_up_nobody() {
    let daemon = Daemon::start();
    let (_, mut slow) = listen(&daemon, "");
    let (_, mut quick) = listen(&daemon, "");
    // More events than socket buffers and the bus hold.
    let start = Instant::now();
    for id in 1..=20_000 {
        daemon.memory.events.send(weight(id, "web")).unwrap();
        if id % 8 == 0 {
            while next(&mut quick).0 != id.to_string() {}
        }
    }
    let took = start.elapsed();
    let (mut last, mut missed) = (0, 0);
    while last < 20_000 {
        let (id, word, data) = next(&mut slow);
        let id = id.parse().unwrap();
        if word == "missed" {
            let events = data["events"].as_u64().unwrap();
            assert_eq!(id, last + events, "missed up to where it goes on");
            missed += events;
        } else {
            assert_eq!(id, last + 1);
        }
        last = id;
    }
    assert!(missed > 0, "it was quick enough");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn streams_are_few_and_end_with_the_daemon() {
    let mut daemon = Daemon::start();
    let mut streams: Vec<_> = (0..32).map(|_| listen(&daemon, "").1).collect();
    let (head, _) = listen(&daemon, "");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // Other requests are still answered.
    assert_eq!(daemon.cli("services").status.code(), Some(0));
    drop(streams.pop());
    let deadline = Instant::now() + Duration::from_secs(5);
    while !listen(&daemon, "").0.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "a stream that was closed still counts");
        std::thread::sleep(Duration::from_millis(10));
        // The server notices that the client has gone when it next sends something.
        daemon.memory.events.send(weight(1, "web")).unwrap();
    }
    let start = Instant::now();
    daemon.stop();
    let mut rest = Vec::new();
    streams[0].read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "an end in order");
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn the_command_line_prints_a_line_an_event() {
    let mut daemon = Daemon::start();
    let run = |arguments: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
            .args(arguments.split_whitespace())
            .env("DISPATCHER_API_SOCKET", &daemon.socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (child, out.lines())
    };
    let (mut table, mut rows) = run("events web");
    let (mut json, mut objects) = run("events -o json");
    while daemon.memory.events.receiver_count() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.memory.events.send(weight(1, "dns")).unwrap();
    daemon.memory.events.send(weight(2, "web")).unwrap();
    let row = rows.next().unwrap().unwrap();
    let said = "  weight_changed    backend web/web-1: weight 10 → 3 by manager";
    assert!(row.contains(said), "{row}");
    let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    assert_eq!(of(&objects.next().unwrap().unwrap())["service"], "dns");
    assert_eq!(of(&objects.next().unwrap().unwrap())["id"], 2);
    daemon.stop();
    for child in [&mut table, &mut json] {
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert_eq!(error, "events: the daemon has stopped\n");
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
}

/// Every word of the description is an event, and the event fits the description.
#[test]
fn events_fit_the_description() {
    // A value for every field that an event may have.
    let mut all: Value = serde_json::json!({
        "id": 1, "time": 1.5, "service": "web", "backend": "web-1", "address": "10.0.0.1",
        "reason": "no mac", "from": 1, "to": 2, "by": "slow_start",
        "numbers": WeightNumbers::default(), "now": true, "connections": 3, "silent": 2,
        "half_open_connections": 4, "syn_guard": 5, "seconds": 6.5, "mac": "02:00:00:00:00:01",
        "former_mac": "02:00:00:00:00:02", "interface": "eth0", "mode": "native", "changes": 7,
        "events": 8, "vip": "10.0.0.80", "losses": 9, "taken_by": "networkd (pid 10)",
    });
    let kinds = &description().0["components"]["schemas"]["EventKind"]["oneOf"];
    for kind in kinds.as_array().unwrap() {
        let word = &kind["properties"]["event"]["enum"][0];
        all["event"] = word.clone();
        let event: Event =
            serde_json::from_value(all.clone()).unwrap_or_else(|e| panic!("{word}: {e}"));
        assert_eq!(event.kind.word(), word.as_str().unwrap());
        let event = serde_json::to_value(&event).unwrap();
        support::fits("Event", &event).unwrap_or_else(|e| panic!("{event}: {e}"));
    }
    all["event"] = "no_event".into();
    support::fits("Event", &all).unwrap_err();
}
