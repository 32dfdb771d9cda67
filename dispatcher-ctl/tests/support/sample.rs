//! The sample: the answers of the daemon without a datapath.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use dispatcher_ctl::{
    api::types::{
        Action, Affinity, Backend, BackendAdvisor, Change, Components, ConfigStatus, Connection,
        ConnectionTable, ExitCount, Interface, LoggedError, ManagedBackend, ManagedService, Plan,
        ProbeLateness, Probes, Rates, ReasonCount, RefusedCount, ResponseBucket, ResponseSeconds,
        Rule, Seconds, Service, ServiceView, Status,
    },
    model::{
        AdvisorKind, Day, Evaluate, ForwardMode, OnDown, Proportions, Protocol, RuleConfig,
        Scheduler, Share, Target, XdpMode,
    },
};

/// Time of the sample: 2026-01-01T00:00:00Z.
pub(crate) const NOW: f64 = 1_767_225_600.0;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two services with every oddity; the second is IPv6 and has no backend that is up.
pub(crate) fn sample() -> Status {
    let mut web = a_service("web", "192.0.2.80", 80, Protocol::Tcp, web_backends());
    web.rules = vec![a_rule("rest", 20, "web-3", false), a_rule("office", 10, "web-1", true)];
    let mut down = a_backend("dns-1", "10.0.0.21", 1);
    down.mac = None;
    down.interface = None;
    down.up = false;
    down.state = "no mac: no answer to neighbour discovery".to_owned();
    let mut dns = a_service("dns", "2001:db8::53", 0, Protocol::Udp, vec![down]);
    dns.drops = BTreeMap::from([("no_backend".into(), 1_234)]);
    Status {
        version: "0.1.0".to_owned(),
        pid: 4242,
        started: NOW - 7_805.0,
        uptime_seconds: 7_805.0,
        interfaces: interfaces(),
        services: vec![web, dns],
        connections: ConnectionTable {
            connections: 1_234,
            connections_capacity: 1_000_000,
            half_open_connections: 12,
            syn_guard: 10,
            syn_guard_since: Some(NOW - 180.0),
            overflow_connections: 0,
            fill: 0.001_234,
            connections_expired: BTreeMap::from([("fin".into(), 580), ("stale".into(), 3)]),
        },
        config: ConfigStatus {
            file: "/etc/dispatcher.toml".to_owned(),
            reload_success: true,
            last_reload: NOW - 300.0,
            note: Some("connections.capacity 2000000 waits for the next fresh start".to_owned()),
        },
        weight_updates: 7,
        probe_lateness: ProbeLateness { up: 0.002, other: 0.25 },
        exits: vec![ExitCount {
            event: "server_down".into(),
            success: 5,
            failure: 1,
            timeout: 0,
            dropped: 2,
        }],
        warnings: vec![
            "eth1: answers ARP requests for VIP 192.0.2.80, which another NIC has".to_owned(),
        ],
        last_errors: vec![LoggedError {
            time: NOW - 65.0,
            message: "backend dns/dns-1: no mac: no answer to neighbour discovery".to_owned(),
        }],
    }
}

fn interfaces() -> Vec<Interface> {
    let count = |verdict: &'static str, reason: &'static str, packets| ReasonCount {
        verdict: verdict.into(),
        reason: reason.into(),
        packets,
        bytes: packets * 100,
    };
    let reasons = vec![
        count("tx", "forwarded", 1_200_000),
        count("redirect", "forwarded", 34),
        count("pass", "not_ours", 77),
        count("drop", "no_service", 5),
    ];
    let eth0 = Interface {
        name: "eth0".to_owned(),
        index: Some(0),
        ifindex: Some(3),
        mac: Some("02:00:00:00:00:fe".parse().unwrap()),
        mode: XdpMode::Native,
        attached: true,
        since: NOW - 7_800.0,
        packets: reasons.iter().map(|r| r.packets).sum(),
        bytes: reasons.iter().map(|r| r.bytes).sum(),
        reasons,
        refused: vec![],
        note: None,
    };
    let eth1 = Interface {
        name: "eth1".to_owned(),
        index: None,
        ifindex: None,
        mac: None,
        mode: XdpMode::Generic,
        attached: false,
        since: NOW - 5.0,
        packets: 0,
        bytes: 0,
        reasons: vec![],
        refused: vec![RefusedCount { from: "eth0".to_owned(), cause: "full".into(), packets: 3 }],
        note: Some("is not there".to_owned()),
    };
    vec![eth0, eth1]
}

/// The manager's report on the first service's backends.
pub(crate) fn managed() -> Vec<ManagedService> {
    let managed = |backend: &str, known: bool, weight: u32| ManagedBackend {
        backend: backend.to_owned(),
        state: if known { "up" } else { "down: http no answer within 2s" }.to_owned(),
        fixed_weight: weight == 4,
        active_connections: known.then_some(12.25),
        new_connections: known.then_some(340.0),
        load_seconds: known.then_some(0.0031),
        system_load: None,
        components: known.then(|| Components::of([13, 10, 12, 10])),
        target: known.then_some(11.5),
        weight,
    };
    vec![ManagedService {
        service: "web".to_owned(),
        proportions: Proportions::of([40, 40, 20, 0]),
        weight_bound: 20,
        backends: vec![
            managed("web-1", true, 12),
            managed("web-2", true, 4),
            managed("web-3", false, 0),
        ],
    }]
}

fn web_backends() -> Vec<Backend> {
    let mut quiesced = a_backend("web-2", "10.0.0.12", 2);
    quiesced.quiesced = true;
    quiesced.state = "quiesced".to_owned();
    let mut down = a_backend("web-3", "10.0.0.13", 1);
    (down.up, down.down_by_hand) = (false, true);
    down.state = "down by hand".to_owned();
    vec![a_backend("web-1", "10.0.0.11", 3), quiesced, down]
}

/// A rule with a value for every key, although no valid rule has all of them.
fn a_rule(name: &str, priority: u32, backend: &str, active: bool) -> Rule {
    let config = RuleConfig {
        name: name.to_owned(),
        priority,
        backends: vec![backend.to_owned()],
        clients: vec!["198.51.100.0/24".parse().unwrap()],
        client_ports: Some("1024-2047".parse().unwrap()),
        time: Some("08:00-18:00".parse().unwrap()),
        days: vec![Day::Mon],
        tos: Some("0xb8/0xfc".parse().unwrap()),
        min_new_connections: Some(1),
        max_new_connections: Some(2),
        min_active_connections: Some(3),
        max_active_connections: Some(4),
        min_bandwidth: Some(5),
        max_bandwidth: Some(6),
        shared_bandwidth: Some(7),
        share: Share::Vip,
        always: true,
        evaluate: Evaluate::Rule,
    };
    Rule { config, active, connections: u64::from(active) * 1_234 }
}

pub(crate) fn a_service(
    name: &str,
    vip: &str,
    port: u16,
    protocol: Protocol,
    backends: Vec<Backend>,
) -> Service {
    let total = |of: fn(&Backend) -> u64| backends.iter().map(of).sum();
    Service {
        settings: ServiceView {
            name: name.to_owned(),
            vip: ip(vip),
            port,
            protocol,
            scheduler: Scheduler::Wrr,
            forward: ForwardMode::Mac,
            stale_timeout: Seconds(Duration::from_secs(300)),
            syn_timeout: Seconds(Duration::from_secs(30)),
            fin_timeout: Seconds(Duration::from_millis(1_500)),
            fin_count: 4000,
            on_down: OnDown::Keep,
            measure: true,
            weight_bound: 20,
            proportions: None,
            slow_start: Seconds::default(),
            affinity: Affinity {
                timeout: Seconds(Duration::from_secs(300)),
                mask_v4: 24,
                mask_v6: 64,
                cross_port: vec![443],
            },
        },
        packets: total(|b| b.packets),
        bytes: total(|b| b.bytes),
        connections: total(|b| b.connections),
        active_connections: total(|b| b.active_connections),
        half_open_connections: total(|b| b.half_open_connections),
        hashed_packets: 17,
        drops: BTreeMap::new(),
        rates: Rates { connections: 12.5, packets: 1_500.0, bytes: 2_250_000.0 },
        backends,
        rules: Vec::new(),
    }
}

pub(crate) fn a_backend(name: &str, address: &str, weight: u32) -> Backend {
    let n = u64::from(weight);
    Backend {
        name: name.to_owned(),
        address: ip(address),
        mac: Some("02:00:00:00:00:11".parse().unwrap()),
        interface: Some("eth0".to_owned()),
        weight,
        up: true,
        quiesced: false,
        quiesce_deadline: None,
        down_by_hand: false,
        local: false,
        max_connections: 0,
        sticky: true,
        fixed_weight: false,
        sorry: false,
        state: "up".to_owned(),
        since: NOW - 3_725.0,
        packets: n * 123_456,
        bytes: n * 123_456_789,
        connections: n * 100,
        active_connections: n * 2,
        half_open_connections: n - 1,
        retransmissions: 1,
        delivered_bytes: Some(n * 98_765_432),
        response_seconds: Some(ResponseSeconds {
            count: n * 100,
            sum: n as f64 * 1.25,
            buckets: vec![
                ResponseBucket { le: 0.01, count: n * 40 },
                ResponseBucket { le: 0.025, count: n * 90 },
            ],
        }),
        agent: None,
        advisor: Some(BackendAdvisor {
            kind: AdvisorKind::Http,
            target: Target::Address,
            load_seconds: Some(0.004_2),
            system_load: None,
            probes: Probes { success: n * 1000, failure: 2, not_probed: 0 },
            last_error: Some("status 503, expected 200-399".to_owned()),
            not_probed: None,
            certificate_expiry: Some(1_800_000_000),
        }),
        rates: Rates { connections: 1.25, packets: 750.0, bytes: 1_125_000.0 },
    }
}

pub(crate) fn connections() -> Vec<Connection> {
    let web = Connection {
        protocol: Protocol::Tcp,
        client: ip("198.51.100.7"),
        client_port: 40_001,
        vip: ip("192.0.2.80"),
        vip_port: 80,
        service: "web".to_owned(),
        backend: "web-1".to_owned(),
        state: "established".into(),
        age_seconds: 64.4,
        idle_seconds: 4.3,
        delivered_bytes: Some(1_234_567),
        response_seconds: Some(0.0125),
    };
    let dns = Connection {
        protocol: Protocol::Udp,
        client: ip("2001:db8::c"),
        vip: ip("2001:db8::53"),
        vip_port: 53,
        service: "dns".to_owned(),
        backend: "dns-1".to_owned(),
        delivered_bytes: None,
        response_seconds: None,
        ..web.clone()
    };
    let closing = Connection {
        client_port: 40_002,
        state: "closing".into(),
        backend: "web-2".into(),
        ..web.clone()
    };
    vec![web, closing, dns]
}

pub(crate) fn plan() -> Plan {
    let change = |action, object: &str, detail: &str| Change {
        action,
        object: object.to_owned(),
        detail: detail.to_owned(),
    };
    Plan {
        changes: vec![
            change(Action::Add, "backend web/web-4", "10.0.0.14, weight 5"),
            change(Action::Change, "backend web/web-1", "weight 3 -> 4"),
            change(Action::Remove, "service dns", ""),
        ],
        notes: vec!["connections.capacity 2000000 waits for the next fresh start".to_owned()],
    }
}
