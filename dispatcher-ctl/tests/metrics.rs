//! The metrics: promtool accepts them, and names and labels are the documented ones.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
};

use dispatcher_ctl::{
    metrics::{render, server},
    model::Protocol,
};
use tokio_util::sync::CancellationToken;

mod support;

#[test]
fn promtool_finds_nothing_to_say() {
    let mut sample = support::sample();
    // Values that need escaping in labels.
    sample.services[0].backends[0].name = "we\"b\\1\n".to_owned();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(e) if std::env::var("DISPATCHER_REQUIRE_BPF").as_deref() != Ok("1") => {
            eprintln!("skipped: no promtool ({e}): apt-get install prometheus");
            return;
        }
        Err(e) => panic!("promtool: {e}: apt-get install prometheus"),
    };
    promtool.stdin.take().unwrap().write_all(render(&sample).unwrap().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_promised_names_and_labels_are_there() {
    let text = render(&support::sample()).unwrap();
    for line in [
        r#"dispatcher_packets_total{interface="eth0",verdict="redirect",reason="forwarded"} 34"#,
        r#"dispatcher_bytes_total{interface="eth0",verdict="drop",reason="no_service"} 500"#,
        r#"dispatcher_interface_attached{interface="eth1"} 0"#,
        r#"dispatcher_service_packets_total{service="web"} 740736"#,
        r#"dispatcher_service_bytes_total{service="dns"} 123456789"#,
        r#"dispatcher_service_connections_total{service="web"} 600"#,
        r#"dispatcher_service_hashed_packets_total{service="web"} 17"#,
        r#"dispatcher_service_drops_total{service="dns",reason="no_backend"} 1234"#,
        r#"dispatcher_backend_packets_total{service="web",backend="web-1"} 370368"#,
        r#"dispatcher_backend_bytes_total{service="web",backend="web-3"} 123456789"#,
        r#"dispatcher_backend_connections_total{service="web",backend="web-1"} 300"#,
        r#"dispatcher_backend_active_connections{service="web",backend="web-1"} 6"#,
        r#"dispatcher_backend_half_open_connections{service="web",backend="web-1"} 2"#,
        r#"dispatcher_backend_weight{service="web",backend="web-1"} 3"#,
        r#"dispatcher_backend_up{service="dns",backend="dns-1"} 0"#,
        r#"dispatcher_backend_resolved{service="dns",backend="dns-1"} 0"#,
        r#"dispatcher_backend_quiesced{service="web",backend="web-2"} 1"#,
        r#"dispatcher_backend_delivered_bytes_total{service="web",backend="web-1"} 296296296"#,
        r#"dispatcher_backend_response_seconds_bucket{service="web",backend="web-1",le="0.025"} 270"#,
        r#"dispatcher_backend_response_seconds_bucket{service="web",backend="web-1",le="+Inf"} 300"#,
        r#"dispatcher_backend_response_seconds_sum{service="web",backend="web-1"} 3.75"#,
        r#"dispatcher_backend_response_seconds_count{service="web",backend="web-1"} 300"#,
        r#"dispatcher_advisor_load_seconds{service="web",backend="web-1",kind="http"} 0.0042"#,
        r#"dispatcher_advisor_probes_total{service="web",backend="web-1",kind="http",result="failure"} 2"#,
        r#"dispatcher_advisor_probes_total{service="web",backend="web-1",kind="http",result="not_probed"} 0"#,
        r#"dispatcher_advisor_lateness_seconds{backends="other"} 0.25"#,
        "dispatcher_connections 1234",
        "dispatcher_connections_capacity 1000000",
        r#"dispatcher_connections_expired_total{cause="fin"} 580"#,
        "dispatcher_weight_updates_total 7",
        r#"dispatcher_exits_total{event="server_down",result="dropped"} 2"#,
        "dispatcher_config_reload_success 1",
        r#"dispatcher_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}

#[test]
fn they_are_served_over_tcp() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = server::bind(address).await.unwrap_err().to_string();
        assert!(taken.starts_with(&format!("metrics_listen {address}: ")), "{taken}");
        let shutdown = CancellationToken::new();
        let memory = Arc::new(support::Memory::new(support::sample()));
        let server = tokio::spawn(server::serve(listener, memory, shutdown.clone()));
        // Silent clients do not block others.
        let _silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        let get = |request: &'static str| {
            tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        };
        let metrics = get("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let (head, body) = metrics.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(body, render(&support::sample()).unwrap());
        let elsewhere = get("GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
        let other = get("POST /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(other.starts_with("HTTP/1.1 405 "), "{other}");
        shutdown.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).is_err(), "it listens on");
    });
}

#[test]
fn no_series_appears_twice() {
    let text = render(&support::sample()).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series), "{series} twice");
    }
}

#[test]
fn every_backend_of_many_has_its_own_values() {
    let mut sample = support::sample();
    let service = |n: u32| {
        let backends = (0..=n % 4)
            .map(|b| support::a_backend(&format!("backend-{b}"), "10.0.0.1", 10 * n + b + 1));
        let name = format!("service-{n}");
        support::a_service(&name, "192.0.2.1", 80, Protocol::Tcp, backends.collect())
    };
    sample.services = (0..40).map(service).collect();
    let text = render(&sample).unwrap();
    let lines: BTreeSet<_> = text.lines().collect();
    for (service, backend) in
        sample.services.iter().flat_map(|s| s.backends.iter().map(move |b| (s, b)))
    {
        let labels = format!("{{service=\"{}\",backend=\"{}\"}}", service.name, backend.name);
        for (name, value) in [
            ("packets_total", backend.packets),
            ("half_open_connections", backend.half_open_connections),
            ("weight", u64::from(backend.weight)),
            ("up", 1),
        ] {
            let line = format!("dispatcher_backend_{name}{labels} {value}");
            assert!(lines.contains(&*line), "no {line} in\n{text}");
        }
    }
}
