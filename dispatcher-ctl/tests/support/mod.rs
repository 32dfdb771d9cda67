//! A daemon without a datapath: the API's server with a [`Controller`] that keeps its answers in memory. Tests of server,
//! client, command line and metrics use it over a real Unix socket. Its answers prove nothing about the datapath.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use dispatcher_ctl::{
    api::{
        Controller, Done, Events, PlanSource, description, serve,
        server::{Patience, Socket},
        types::{
            ApiError, AttachInterface, Backend, Connection, ConnectionQuery, Connections, Event,
            Interface, ManagerReport, ManagerSettings, PatchBackend, PatchManager, PatchService,
            Plan, PutBackend, PutService, Service, Status,
        },
    },
    model::{Manager, XdpMode},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

mod sample;

pub(crate) use sample::*;

/// A client with 25,000 connections.
pub(crate) const MANY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));

/// Answers from memory.
#[derive(Debug)]
pub(crate) struct Memory {
    status: Mutex<Status>,
    manager: Mutex<Manager>,
    /// All changes, in the order in which they arrived.
    pub(crate) changes: Mutex<Vec<String>>,
    /// Sends events to all streams.
    pub(crate) events: broadcast::Sender<Event>,
}

impl Memory {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status: Mutex::new(status),
            manager: Mutex::default(),
            changes: Mutex::default(),
            events: broadcast::channel(16).0,
        }
    }

    /// Records a change and applies it.
    fn change<T>(&self, note: String, make: impl FnOnce(&mut Status) -> Done<T>) -> Done<T> {
        let made = make(&mut self.status.lock().unwrap())?;
        self.changes.lock().unwrap().push(note);
        Ok(made)
    }
}

fn position(status: &Status, name: &str) -> Done<usize> {
    let meant = |s: &Service| s.name == name || s.vip.to_string() == name;
    let error =
        || ApiError::not_found(format!("service {name}: is not there")).hint("dispatcher services");
    status.services.iter().position(meant).ok_or_else(error)
}

fn service<'a>(status: &'a mut Status, name: &str) -> Done<&'a mut Service> {
    let at = position(status, name)?;
    Ok(&mut status.services[at])
}

fn backend<'a>(service: &'a mut Service, name: &str) -> Done<&'a mut Backend> {
    let owner = service.name.clone();
    let meant = |b: &&mut Backend| b.name == name || b.address.to_string() == name;
    let error = || ApiError::not_found(format!("backend {owner}/{name}: is not there"));
    service.backends.iter_mut().find(meant).ok_or_else(error)
}

#[async_trait]
impl Controller for Memory {
    async fn status(&self) -> Done<Status> {
        Ok(self.status.lock().unwrap().clone())
    }

    async fn attach(&self, name: String, request: AttachInterface, save: bool) -> Done<Interface> {
        self.change(format!("attach {name} {request:?} save={save}"), |status| {
            if name == "nodriver0" {
                let error = ApiError::failed("interface nodriver0: driver dummy has no native xdp");
                return Err(error.hint("dispatcher attach nodriver0 --mode generic"));
            }
            let mode = request.mode.unwrap_or(XdpMode::Native);
            status.interfaces.push(Interface { name, mode, ..status.interfaces[0].clone() });
            Ok(status.interfaces[status.interfaces.len() - 1].clone())
        })
    }

    async fn detach(&self, name: String, save: bool) -> Done<()> {
        self.change(format!("detach {name} save={save}"), |status| {
            status.interfaces.retain(|interface| interface.name != name);
            Ok(())
        })
    }

    async fn service(&self, name: String) -> Done<Service> {
        service(&mut self.status.lock().unwrap(), &name).cloned()
    }

    async fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> Done<Service> {
        let note = format!("put service {name} {request:?} replace={replace} save={save}");
        self.change(note, |status| {
            if position(status, &name).is_ok() && !replace {
                return Err(ApiError::conflict(format!("service {name}: is there already")));
            }
            let PutService { vip, port, protocol, .. } = request;
            let mut new = Service { backends: vec![], ..status.services[0].clone() };
            (new.name, new.vip, new.port, new.protocol) = (name, vip, port, protocol);
            status.services.push(new.clone());
            Ok(new)
        })
    }

    async fn patch_service(
        &self,
        name: String,
        request: PatchService,
        save: bool,
    ) -> Done<Service> {
        self.change(format!("patch service {name} {request:?} save={save}"), |status| {
            let service = service(status, &name)?;
            service.scheduler = request.scheduler.unwrap_or(service.scheduler);
            service.stale_timeout = request.stale_timeout.unwrap_or(service.stale_timeout);
            Ok(service.clone())
        })
    }

    async fn delete_service(&self, name: String, save: bool) -> Done<()> {
        self.change(format!("delete service {name} save={save}"), |status| {
            let at = position(status, &name)?;
            status.services.remove(at);
            Ok(())
        })
    }

    async fn backend(&self, of: String, name: String) -> Done<Backend> {
        backend(service(&mut self.status.lock().unwrap(), &of)?, &name).cloned()
    }

    async fn put_backend(
        &self,
        of: String,
        name: String,
        request: PutBackend,
        replace: bool,
        save: bool,
    ) -> Done<Backend> {
        let note = format!("put backend {of}/{name} {request:?} replace={replace} save={save}");
        self.change(note, |status| {
            let service = service(status, &of)?;
            let PutBackend { address, weight, mac, local, max_connections, sticky, .. } = request;
            let weight = weight.unwrap_or(service.weight_bound / 2);
            let first = service.backends[0].clone();
            let new = Backend {
                name,
                address,
                weight,
                mac: mac.flatten(),
                local: local.unwrap_or_default(),
                max_connections: max_connections.unwrap_or_default(),
                sticky: sticky.unwrap_or(true),
                ..first
            };
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
    ) -> Done<Backend> {
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
            backend.state = if backend.up { "up" } else { "down by hand" }.to_owned();
            Ok(backend.clone())
        })
    }

    async fn delete_backend(&self, of: String, name: String, save: bool) -> Done<()> {
        self.change(format!("delete backend {of}/{name} save={save}"), |status| {
            let service = service(status, &of)?;
            backend(service, &name)?;
            service.backends.retain(|b| b.name != name);
            Ok(())
        })
    }

    async fn manager(&self) -> Done<ManagerReport> {
        let settings = ManagerSettings::from(&*self.manager.lock().unwrap());
        Ok(ManagerReport { settings, services: managed() })
    }

    async fn patch_manager(&self, request: PatchManager, save: bool) -> Done<ManagerReport> {
        request.apply(&mut self.manager.lock().unwrap());
        self.change(format!("patch manager {request:?} save={save}"), |_| Ok(()))?;
        self.manager().await
    }

    async fn connections(&self, query: ConnectionQuery) -> Done<Connections> {
        let mut all = connections();
        if query.client == Some(MANY) {
            all = (0..25_000)
                .map(|i| Connection { client: MANY, client_port: i, ..all[0].clone() })
                .collect();
        }
        all.retain(|c| query.service.as_ref().is_none_or(|s| *s == c.service));
        all.retain(|c| query.client.is_none_or(|client| client == c.client));
        all.retain(|c| query.backend.as_ref().is_none_or(|b| *b == c.backend));
        all.drain(..query.from);
        let truncated = all.len() > query.limit();
        all.truncate(query.limit());
        let next = truncated.then_some(query.from + query.limit());
        Ok(Connections { connections: all, truncated, next })
    }

    async fn plan(&self, other: Option<PlanSource>) -> Done<Plan> {
        match other {
            Some(PlanSource { file, text }) if text.contains("bad") => {
                let errors = vec![
                    format!("{file}:1:1: bad: unknown key"),
                    format!("{file}:2:8: service[0].port: 70000 is no port\n  hint: 0 to 65535"),
                ];
                let error = format!("{file}: 2 errors, nothing was changed");
                Err(ApiError::invalid(error).errors(errors))
            }
            _ => Ok(plan()),
        }
    }

    async fn events(&self, service: Option<String>) -> Done<Events> {
        if let Some(name) = &service {
            position(&self.status.lock().unwrap(), name)?;
        }
        Ok(Events { receiver: self.events.subscribe(), service })
    }

    async fn reload(&self) -> Done<Plan> {
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
    /// Starts a daemon with the sample.
    pub(crate) fn start() -> Self {
        Self::start_with(Patience::default())
    }

    /// Starts a daemon with the sample and with these time limits.
    pub(crate) fn start_with(patience: Patience) -> Self {
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
                    serve(socket, memory, patience, shutdown).await.unwrap();
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

    /// The changes that have arrived since the last call.
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

/// Checks that a value fits a schema of the API's description.
pub(crate) fn fits(name: &str, value: &serde_json::Value) -> Result<(), String> {
    let mut schema = description().0.clone();
    schema["$ref"] = format!("#/components/schemas/{name}").into();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    validator.validate(value).map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// Compares with a golden file; `DISPATCHER_BLESS=1` writes it instead.
pub(crate) fn golden(name: &str, text: &str) {
    dispatcher_golden::check(&format!("dispatcher-ctl/tests/golden/{name}"), text);
}
