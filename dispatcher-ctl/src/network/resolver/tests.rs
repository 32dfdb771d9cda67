//! The resolver against a real kernel, step by step: the test decides when reports are processed.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::*;

const BACKEND: &str = "10.8.0.2";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn unresolved_reason(resolver: &Resolver) -> String {
    let all = resolver.resolutions.read().unwrap();
    match all.get(&BACKEND.parse::<IpAddr>().unwrap()) {
        Some(Resolution::Unresolved(why)) => why.clone(),
        other => panic!("{other:?}"),
    }
}

/// A resolver that has found a backend behind `eth0`, in a network namespace of this thread.
async fn placed() -> Resolver {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link add eth0 type veth peer name eth1");
    ip("addr add 10.8.0.1/24 dev eth0");
    ip("link set eth0 up");
    ip("link set eth1 up");
    let kernel = Kernel::connect().unwrap();
    let (events, _) = mpsc::unbounded_channel();
    let (progress, _) = watch::channel(Progress::default());
    let resolutions = Resolutions::default();
    let mut resolver =
        Resolver::start(kernel, resolutions, OwnAddresses::default(), events, progress)
            .await
            .unwrap();
    let eth0 = resolver.links.values().find(|link| link.name == "eth0").unwrap().ifindex;
    let addresses = [BACKEND.parse().unwrap()].into();
    resolver.watch(Watch { order: 1, addresses, nics: vec![(eth0, "eth0".to_owned())] });
    resolver.look_up_routes().await;
    assert_eq!(resolver.backends.get(BACKEND.parse().unwrap()).unwrap().nic(), Some(eth0));
    resolver
}

/// The backend's state after this command, when its route is looked up before any report is processed.
fn route_first(command: &'static str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "root is required");
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut resolver = placed().await;
            ip(command);
            resolver.look_up_all(Instant::now());
            resolver.look_up_routes().await;
            unresolved_reason(&resolver)
        })
    });
    Some(thread.join().unwrap())
}

#[test]
fn a_nic_that_is_gone_is_named_though_its_route_is_reported_first() {
    if let Some(why) = route_first("link del eth0") {
        assert_eq!(why, "10.8.0.2 was on eth0, which is gone");
    }
}

#[test]
fn a_nic_that_is_down_is_named_though_its_route_is_reported_first() {
    if let Some(why) = route_first("link set eth0 down") {
        assert_eq!(why, "10.8.0.2 is on eth0, which is down");
    }
}

#[test]
fn a_route_that_goes_without_its_nic_is_said_to_be_missing() {
    if let Some(why) = route_first("route del 10.8.0.0/24 dev eth0") {
        assert!(why.contains("route"), "{why}");
    }
}
