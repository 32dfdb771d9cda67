//! A daemon without a datapath: the API's server over a [`Controller`] that keeps its answers in memory, so that server,
//! client, command line and metrics are tested over a real Unix socket. What it answers proves nothing of the datapath.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::Duration,
};

use dispatcher_ctl::{
    api::{
        Controller, PlanSource,
        server::{Socket, serve},
        types::{
            Action, ApiError, AttachInterface, Backend, Change, ConfigStatus, Connection,
            ConnectionQuery, ConnectionTable, Connections, Interface, LoggedError, PatchBackend,
            PatchService, Plan, PutBackend, PutService, Rates, ReasonCount, Seconds, Service,
            Status,
        },
    },
    model::{ForwardMode, OnDown, Protocol, Scheduler, XdpMode},
};
use tokio_util::sync::CancellationToken;

/// When the sample was taken: 2026-01-01T00:00:00Z.
pub(crate) const NOW: f64 = 1_767_225_600.0;

/// Answers from memory.
#[derive(Debug)]
pub(crate) struct Memory {
    status: Mutex<Status>,
    /// Every change, as it arrived.
    pub(crate) changes: Mutex<Vec<String>>,
}

impl Memory {
    pub(crate) fn new(status: Status) -> Self {
        Self { status: Mutex::new(status), changes: Mutex::default() }
    }

    /// Notes a change and makes it.
    fn change<T>(
        &self,
        note: String,
        make: impl FnOnce(&mut Status) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let made = make(&mut self.status.lock().unwrap())?;
        self.changes.lock().unwrap().push(note);
        Ok(made)
    }
}

fn position(status: &Status, name: &str) -> Result<usize, ApiError> {
    let meant = |s: &Service| s.name == name || s.vip.to_string() == name;
    let error =
        || ApiError::not_found(format!("service {name}: is not there")).hint("dispatcher services");
    status.services.iter().position(meant).ok_or_else(error)
}

fn service<'a>(status: &'a mut Status, name: &str) -> Result<&'a mut Service, ApiError> {
    let at = position(status, name)?;
    Ok(&mut status.services[at])
}

fn backend<'a>(service: &'a mut Service, name: &str) -> Result<&'a mut Backend, ApiError> {
    let owner = service.name.clone();
    let meant = |b: &&mut Backend| b.name == name || b.address.to_string() == name;
    let error = || ApiError::not_found(format!("backend {owner}/{name}: is not there"));
    service.backends.iter_mut().find(meant).ok_or_else(error)
}

impl Controller for Memory {
    async fn status(&self) -> Result<Status, ApiError> {
        Ok(self.status.lock().unwrap().clone())
    }

    async fn attach(
        &self,
        interface: String,
        request: AttachInterface,
        save: bool,
    ) -> Result<Interface, ApiError> {
        self.change(format!("attach {interface} {request:?} save={save}"), |status| {
            if interface == "nodriver0" {
                let error = "interface nodriver0: driver dummy has no native xdp";
                return Err(
                    ApiError::failed(error).hint("dispatcher attach nodriver0 --mode generic")
                );
            }
            let mode = request.mode.unwrap_or(XdpMode::Native);
            let attached = Interface { name: interface, mode, ..status.interfaces[0].clone() };
            status.interfaces.push(attached.clone());
            Ok(attached)
        })
    }

    async fn detach(&self, interface: String, save: bool) -> Result<(), ApiError> {
        self.change(format!("detach {interface} save={save}"), |status| {
            status.interfaces.retain(|i| i.name != interface);
            Ok(())
        })
    }

    async fn service(&self, name: String) -> Result<Service, ApiError> {
        service(&mut self.status.lock().unwrap(), &name).cloned()
    }

    async fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> Result<Service, ApiError> {
        let note = format!("put service {name} {request:?} replace={replace} save={save}");
        self.change(note, |status| {
            if position(status, &name).is_ok() && !replace {
                return Err(ApiError::conflict(format!("service {name}: is there already")));
            }
            let PutService { vip, port, protocol, .. } = request;
            let new = Service {
                name,
                vip,
                port,
                protocol,
                backends: vec![],
                ..status.services[0].clone()
            };
            status.services.push(new.clone());
            Ok(new)
        })
    }

    async fn patch_service(
        &self,
        name: String,
        request: PatchService,
        save: bool,
    ) -> Result<Service, ApiError> {
        self.change(format!("patch service {name} {request:?} save={save}"), |status| {
            let service = service(status, &name)?;
            service.scheduler = request.scheduler.unwrap_or(service.scheduler);
            service.stale_timeout = request.stale_timeout.unwrap_or(service.stale_timeout);
            Ok(service.clone())
        })
    }

    async fn delete_service(&self, name: String, save: bool) -> Result<(), ApiError> {
        self.change(format!("delete service {name} save={save}"), |status| {
            let at = position(status, &name)?;
            status.services.remove(at);
            Ok(())
        })
    }

    async fn backend(&self, of: String, name: String) -> Result<Backend, ApiError> {
        backend(service(&mut self.status.lock().unwrap(), &of)?, &name).cloned()
    }

    async fn put_backend(
        &self,
        of: String,
        name: String,
        request: PutBackend,
        replace: bool,
        save: bool,
    ) -> Result<Backend, ApiError> {
        let note = format!("put backend {of}/{name} {request:?} replace={replace} save={save}");
        self.change(note, |status| {
            let service = service(status, &of)?;
            let PutBackend { address, weight, mac, local } = request;
            let weight = weight.unwrap_or(service.weight_bound / 2);
            let new = Backend { name, address, weight, mac, local, ..service.backends[0].clone() };
            service.backends.push(new.clone());
            Ok(new)
        })
    }

    async fn patch_backend(
        &self,
        of: String,
        name: String,
        request: PatchBackend,
        save: bool,
    ) -> Result<Backend, ApiError> {
        self.change(format!("patch backend {of}/{name} {request:?} save={save}"), |status| {
            let service = service(status, &of)?;
            let bound = service.weight_bound;
            let backend = backend(service, &name)?;
            if let Some(weight) = request.weight.filter(|weight| *weight > bound) {
                return Err(ApiError::invalid(format!(
                    "backend {of}/{name}: weight {weight} is above weight_bound {bound}"
                )));
            }
            backend.weight = request.weight.unwrap_or(backend.weight);
            backend.quiesced = request.quiesced.unwrap_or(backend.quiesced);
            backend.up = request.up.unwrap_or(backend.up);
            backend.down_by_hand = !backend.up;
            let state = if backend.down_by_hand { "down by hand" } else { "up" };
            state.clone_into(&mut backend.state);
            Ok(backend.clone())
        })
    }

    async fn delete_backend(&self, of: String, name: String, save: bool) -> Result<(), ApiError> {
        self.change(format!("delete backend {of}/{name} save={save}"), |status| {
            let service = service(status, &of)?;
            backend(service, &name)?;
            service.backends.retain(|b| b.name != name);
            Ok(())
        })
    }

    async fn connections(&self, query: ConnectionQuery) -> Result<Connections, ApiError> {
        let mut all = connections();
        all.retain(|c| query.service.as_ref().is_none_or(|s| *s == c.service));
        all.retain(|c| query.client.is_none_or(|client| client == c.client));
        all.retain(|c| query.backend.as_ref().is_none_or(|b| *b == c.backend));
        let truncated = all.len() > query.limit();
        all.truncate(query.limit());
        Ok(Connections { connections: all, truncated })
    }

    async fn plan(&self, other: Option<PlanSource>) -> Result<Plan, ApiError> {
        match other {
            Some(PlanSource { file, text }) if text.contains("bad") => {
                let errors = vec![
                    format!("{file}:1:1: bad: unknown key"),
                    format!("{file}:2:8: service[0].port: 70000 is no port\n  hint: 0 to 65535"),
                ];
                Err(ApiError::invalid(format!("{file}: 2 errors, nothing was changed"))
                    .errors(errors))
            }
            _ => Ok(plan()),
        }
    }

    async fn reload(&self) -> Result<Plan, ApiError> {
        self.change("reload".to_owned(), |_| Ok(plan()))
    }
}

/// A daemon in this process.
pub(crate) struct Daemon {
    pub(crate) memory: Arc<Memory>,
    pub(crate) socket: PathBuf,
    _directory: tempfile::TempDir,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Starts one with the sample.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let memory = Arc::new(Memory::new(sample()));
        let shutdown = CancellationToken::new();
        let (ready, readied) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (memory, socket, shutdown) =
                (Arc::clone(&memory), socket.clone(), shutdown.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let socket = Socket::bind(&socket).unwrap();
                    ready.send(()).unwrap();
                    serve(socket, memory, shutdown).await.unwrap();
                });
            }
        });
        readied.recv().unwrap();
        Self { memory, socket, _directory: directory, shutdown, thread: Some(thread) }
    }

    /// Runs the command line against it.
    pub(crate) fn cli(&self, arguments: &str) -> Output {
        cli(&self.socket, &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// The changes it has seen since the last question.
    pub(crate) fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.memory.changes.lock().unwrap())
    }

    /// Stops it.
    pub(crate) fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs the command line.
pub(crate) fn cli(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dispatcher"))
        .args(arguments)
        .env("DISPATCHER_API_SOCKET", socket)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Compares with a golden file; `DISPATCHER_BLESS=1` writes it instead.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("DISPATCHER_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(want == text, "{} differs; it is now:\n{text}", path.display());
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two services, one of them of IPv6 and without a backend that is up, and everything that can be odd.
pub(crate) fn sample() -> Status {
    let web = a_service("web", "192.0.2.80", 80, Protocol::Tcp, web_backends());
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
        note: Some("is not there".to_owned()),
    };
    vec![eth0, eth1]
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

pub(crate) fn a_service(
    name: &str,
    vip: &str,
    port: u16,
    protocol: Protocol,
    backends: Vec<Backend>,
) -> Service {
    let total = |of: fn(&Backend) -> u64| backends.iter().map(of).sum();
    Service {
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
        weight_bound: 20,
        packets: total(|b| b.packets),
        bytes: total(|b| b.bytes),
        connections: total(|b| b.connections),
        active_connections: total(|b| b.active_connections),
        half_open_connections: total(|b| b.half_open_connections),
        drops: BTreeMap::new(),
        rates: Rates { connections: 12.5, packets: 1_500.0, bytes: 2_250_000.0 },
        backends,
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
        down_by_hand: false,
        local: false,
        state: "up".to_owned(),
        since: NOW - 3_725.0,
        packets: n * 123_456,
        bytes: n * 123_456_789,
        connections: n * 100,
        active_connections: n * 2,
        half_open_connections: n - 1,
        retransmissions: 1,
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
    };
    let dns = Connection {
        protocol: Protocol::Udp,
        client: ip("2001:db8::c"),
        vip: ip("2001:db8::53"),
        vip_port: 53,
        service: "dns".to_owned(),
        backend: "dns-1".to_owned(),
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
