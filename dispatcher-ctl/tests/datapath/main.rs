//! The datapath against the running kernel.
//!
//! Each test has its own network namespace and pin directory. Needs root; without it tests are skipped with a message,
//! unless `DISPATCHER_REQUIRE_BPF=1`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::{
    backend::{Forward, NEW, PRESENT, Share, UP, USABLE},
    maps,
    service::ServiceKey,
    settings::Settings,
};
use dispatcher_ctl::{
    datapath::{
        Attached, Datapath, Origin, remove_all,
        tables::{BackendTable, InterfaceTable, ServiceTable, Tables},
    },
    schedule::ScheduleTable,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

mod affinity;
mod clock;
mod connections;
mod counters;
mod lifecycle;
mod stress;

/// A pin directory that is removed with its contents, however the test ends.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.0, drop) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Runs a test in a network namespace of its own, or skips it.
fn in_namespace(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    let required = std::env::var_os("DISPATCHER_REQUIRE_BPF").is_some_and(|value| value == "1");
    if !nix::unistd::geteuid().is_root() {
        assert!(!required, "{name} needs root");
        eprintln!("skipped: {name} needs root");
        return;
    }
    let dir = PathBuf::from(format!("/sys/fs/bpf/dt-datapath-{}-{name}", std::process::id()));
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let pins = Pins(dir);
        test(&pins.0);
        drop(pins);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Creates a pair of veths and returns the first one's index.
fn veth() -> u32 {
    ip("link add dt0 type veth peer name dt1");
    ip("link set dt0 up");
    ip("link set dt1 up");
    if_nametoindex("dt0").unwrap()
}

fn open(dir: &Path) -> (Datapath, Origin) {
    Datapath::open(dir, 10_000).unwrap()
}

fn refused(dir: &Path) -> String {
    Datapath::open(dir, 10_000).unwrap_err().to_string()
}

/// A pinned array, opened independently of the controller.
fn array<T: aya::Pod>(dir: &Path, name: &str) -> aya::maps::Array<aya::maps::MapData, T> {
    let map = aya::maps::MapData::from_pin(namespace_dir(dir).join(name)).unwrap();
    aya::maps::Map::Array(map).try_into().unwrap()
}

fn settings(dir: &Path) -> aya::maps::Array<aya::maps::MapData, Settings> {
    array(dir, maps::SETTINGS)
}

/// The only directory in the pin directory.
fn namespace_dir(dir: &Path) -> PathBuf {
    let entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

fn map_ids(dir: &Path) -> Vec<u32> {
    let dir = namespace_dir(dir);
    let open = |name| aya::maps::MapData::from_pin(dir.join(name)).unwrap().info().unwrap().id();
    maps::ALL.into_iter().map(open).collect()
}

fn only(datapath: &Datapath) -> Attached {
    let attached = datapath.attached().unwrap();
    assert_eq!(attached.len(), 1, "{attached:?}");
    attached[0].clone()
}

/// Waits for something that the kernel does a moment later.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One service with two backends on interface 3.
fn tables(ifindex: u32) -> Tables {
    let flags = USABLE | UP | NEW | PRESENT;
    let backend = |last| {
        let forward = Forward::new([2, 0, 0, 0, 0, last], 3, flags);
        BackendTable { service: 7, forward, share: Share::new(1, 0) }
    };
    let mut vip = [0; 16];
    vip[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 80]);
    let service = ServiceTable {
        key: ServiceKey::new(vip, 80, 6),
        choices: 6 << 16,
        stale_ticks: 70,
        affinity: 0,
        local: 1,
        conditions: Vec::new(),
        schedule: ScheduleTable { ring: vec![1, 2], members: vec![1, 2] },
    };
    Tables {
        services: [(7, service)].into(),
        backends: [(1, backend(1)), (2, backend(2))].into(),
        interfaces: [(3, InterfaceTable { mac: [2, 0, 0, 0, 0, 9], ifindex, mtu: 1500 })].into(),
        expiry_ticks: [9; 8],
        syn_guard: 100_000,
        ..Tables::default()
    }
}
