//! SYN floods: effects on honest clients, on memory, and on the counts.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{
    Daemon, EchoServer, Established, Honest, Lab, OTHER_VIP4, Plan, SPOOFED_NET, VIP4, eventually,
    xdp,
};

use serde_json::Value;

use crate::common::{all_up, backend, lab, service, service_of};

/// Port of the echo service.
const PORT: u16 = 7000;
/// Honest connections that stay, and new ones per second.
const STAYING: usize = 200;
const NEW: u32 = 500;
/// How long each flood lasts.
const LASTS: Duration = Duration::from_secs(8);

/// The honest service on two backends, and one whose backend is a sink.
fn services(lab: &Lab) -> String {
    let timeouts = "syn_timeout = \"4s\"\nfin_timeout = \"2s\"\nfin_count = 100\n\n";
    let mut text = service("echo", VIP4.into(), PORT, "tcp") + timeouts;
    for node in &lab.backends[..2] {
        text += &backend(node.name(), node.v4().into(), 1);
    }
    text += &(service("sink", OTHER_VIP4.into(), PORT, "tcp") + timeouts);
    text + &backend(lab.backends[2].name(), lab.backends[2].v4().into(), 1)
}

#[test]
fn a_flood_harms_neither_those_who_are_there_nor_those_who_come() -> Result<()> {
    let Some(lab) = lab(&Plan::new("flood"))? else { return Ok(()) };
    let _echo = lab.backends[..2]
        .iter()
        .map(|node| EchoServer::start(node, PORT))
        .collect::<Result<Vec<_>>>()?;
    // Answers to spoofed addresses end here.
    lab.switch.ip(&format!("route add blackhole {SPOOFED_NET}"))?;
    let mut daemon = lab.daemon(&services(&lab))?;
    daemon.start()?;
    all_up(&daemon)?;
    // From here on only the static neighbour entry knows the sink.
    let sink = &lab.backends[2];
    lab.lb.ip(&format!("neigh replace {} lladdr {} dev eth0", sink.v4(), sink.mac()))?;
    xdp::swallow(sink, "eth0")?;

    let to = (VIP4, PORT).into();
    let established = Established::open(lab.client(), to, STAYING)?;
    let before = Memory::of(&daemon)?;
    // First as many as one CPU can send, to the sink; then 20,000 per second to the honest service itself.
    flood(&lab, &daemon, OTHER_VIP4, None)?;
    flood(&lab, &daemon, VIP4, Some(20_000))?;
    let after = Memory::of(&daemon)?;
    println!("memory before {before:?}, after {after:?}");
    ensure!(after.maps == before.maps, "maps: {before:?}, then {after:?}");
    ensure!(after.resident < before.resident + 8 * 1024, "{before:?}, then {after:?}");

    let (streams, pieces) = established.stop().context("established connections")?;
    println!("{pieces} pieces of {} bytes were echoed on {STAYING} connections", 64);
    ensure!(streams.len() == STAYING && pieces > 50 * STAYING as u64, "{pieces} pieces");
    counts_are_true(&daemon, STAYING)?;
    drop(streams);
    counts_are_true(&daemon, 0)
}

/// Floods a VIP while honest new connections go to the echo service.
fn flood(lab: &Lab, daemon: &Daemon, vip: Ipv4Addr, rate: Option<u32>) -> Result<()> {
    let honest = Honest::start(lab.client(), (VIP4, PORT).into(), NEW);
    let port = lab.port(&lab.lb, "eth0");
    let mac = [2, 0, 0, 0, 0, 1];
    let before = counted(daemon)?;
    let start = Instant::now();
    // The flood starts at the peer of the dispatcher's NIC: nothing slows it down before.
    let flood = lab.switch.flood(&port, mac, SocketAddrV4::new(vip, PORT), rate)?;
    std::thread::sleep(LASTS);
    let sent = flood.stop()?;
    let seconds = start.elapsed().as_secs_f64();
    let mut counts = counted(daemon)?;
    counts.iter_mut().for_each(|(reason, n)| *n -= before.get(reason).unwrap_or(&0));
    counts.retain(|_, n| *n > 0);
    let (good, bad) = honest.stop()?;
    println!(
        "{vip}: {:.0} SYNs/s sent; seen {counts:?}; honest connections: {:.0}/s good, {bad} of {} bad",
        sent as f64 / seconds,
        f64::from(good) / seconds,
        good + bad,
    );
    // Packets that the NIC has no room for are lost before the datapath sees them.
    let seen = counts.values().sum::<u64>();
    ensure!(seen as f64 >= 15_000.0 * LASTS.as_secs_f64(), "{seen} packets are no flood");
    let dropped: u64 =
        counts.iter().filter(|(reason, _)| reason.starts_with("drop")).map(|(_, n)| n).sum();
    ensure!(dropped * 1000 <= seen, "{dropped} of {seen} packets were dropped: {counts:?}");
    ensure!(bad * 100 <= good + bad, "{vip}: {bad} of {} honest connections failed", good + bad);
    Ok(())
}

/// Packets by verdict and reason.
fn counted(daemon: &Daemon) -> Result<BTreeMap<String, u64>> {
    let status = daemon.json("status")?;
    let nic = &status["interfaces"][0];
    let reasons = nic["reasons"].as_array().context("reasons")?;
    let label = |r: &Value, key: &str| r[key].as_str().unwrap_or_default().to_owned();
    let name = |r: &Value| format!("{} {}", label(r, "verdict"), label(r, "reason"));
    Ok(reasons.iter().map(|r| (name(r), r["packets"].as_u64().unwrap_or(0))).collect())
}

/// Memory of the controller and its maps, in KiB.
#[derive(Debug)]
struct Memory {
    resident: u64,
    maps: u64,
}

impl Memory {
    fn of(daemon: &Daemon) -> Result<Self> {
        let process = format!("/proc/{}", daemon.pid().context("the daemon runs")?);
        let status = fs::read_to_string(format!("{process}/status"))?;
        let mut maps = 0;
        for file in fs::read_dir(format!("{process}/fdinfo"))? {
            // Descriptors may disappear meanwhile.
            let text = fs::read_to_string(file?.path()).unwrap_or_default();
            maps += number(&text, "memlock:").unwrap_or(0);
        }
        Ok(Self { resident: number(&status, "VmRSS:").context("VmRSS")?, maps: maps / 1024 })
    }
}

fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Once the sweeps have passed, the counts agree with the listed connections and their total.
fn counts_are_true(daemon: &Daemon, staying: usize) -> Result<()> {
    let mut last = String::new();
    eventually(Duration::from_secs(25), "counts that are true", || {
        let mut active = Vec::new();
        for name in ["echo", "sink"] {
            let service = service_of(daemon, name)?;
            for backend in service["backends"].as_array().context("backends")? {
                let count = |key: &str| backend[key].as_u64().with_context(|| key.to_owned());
                active.push((count("active_connections")?, count("half_open_connections")?));
            }
        }
        let listed = daemon.json("connections --limit 100000")?;
        let listed = listed["connections"].as_array().context("connections")?;
        let mut alive = [0_u64; 3];
        for connection in listed.iter().filter(|c| c["state"] == "established") {
            let name = connection["backend"].as_str().context("backend")?;
            let number = ["web-1", "web-2", "web-3"].iter().position(|n| *n == name);
            alive[number.context("a backend")?] += 1;
        }
        last = format!("{active:?}, listed {alive:?}");
        Ok(active == alive.map(|n| (n, 0)) && alive.iter().sum::<u64>() == staying as u64)
    })
    .context(last)
}
