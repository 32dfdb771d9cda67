//! Faults of the dispatcher's own host take no backend down: the daemon stood still, or could not probe.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{sleep, spawn},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Node, Plan, VIP4, VIP6, binary, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{all_up, backend, lab, service, state_contains};

/// A server that answers slowly until this is dropped.
struct Slow(Arc<AtomicBool>);

const SLOW: u16 = 8601;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

impl Slow {
    fn start(node: &Node, after: Duration) -> Result<Self> {
        let listener = node.enter(|| Ok(TcpListener::bind(SocketAddr::from(([0; 4], SLOW)))?))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    sleep(Duration::from_millis(5));
                    continue;
                };
                spawn(move || {
                    let _ = stream.set_nonblocking(false);
                    let _ = stream.read(&mut [0; 1024]);
                    sleep(after);
                    let _ = stream.write_all(ANSWER);
                });
            }
        });
        Ok(Self(stop))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Services that differ in their advisors, each with all backends; on ports from 81 on, unless the advisor sets
/// another.
fn services(lab: &Lab, advisors: &[(&str, String)]) -> String {
    let mut text = String::new();
    for ((name, advisor), port) in advisors.iter().zip(81..) {
        let advisor = format!("protocol = \"tcp\"\nadvisor = {{ {advisor} }}\n");
        text +=
            &service(name, IpAddr::V4(VIP4), port, "tcp").replace("protocol = \"tcp\"\n", &advisor);
        for node in &lab.backends {
            text += &backend(node.name(), node.v4().into(), 1);
        }
    }
    text
}

/// Every backend of every service.
fn backends(daemon: &Daemon) -> Result<Vec<(String, Value)>> {
    let status = daemon.json("status")?;
    let services = status["services"].as_array().context("services")?;
    let of = |service: &Value| {
        let name = service["name"].as_str().unwrap_or_default().to_owned();
        let backends = service["backends"].as_array().cloned().unwrap_or_default();
        backends.into_iter().map(move |b| (format!("{name}/{}", b["name"]), b))
    };
    Ok(services.iter().flat_map(of).collect())
}

/// Waits until each has had a good probe.
fn all_good(daemon: &Daemon) -> Result<()> {
    eventually(Duration::from_secs(15), "a good probe of each", || {
        let all = backends(daemon)?;
        let lacks = all.iter().find(|(_, b)| b["advisor"]["probes"]["success"] == 0);
        ensure!(lacks.is_none(), "{lacks:?}");
        Ok(true)
    })?;
    all_up(daemon)
}

/// No probe has failed so far.
fn none_failed(daemon: &Daemon) -> Result<()> {
    for (name, backend) in backends(daemon)? {
        let failures = &backend["advisor"]["probes"]["failure"];
        ensure!(failures == 0 && backend["up"] == true, "{name}: {backend}\n{}", daemon.log());
    }
    Ok(())
}

#[test]
fn a_controller_that_stands_still_takes_no_backend_down() -> Result<()> {
    let Some(lab) = lab(&Plan::new("stopped").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let slow = lab.backends.iter().map(|node| Slow::start(node, Duration::from_millis(300)));
    let _slow = slow.collect::<Result<Vec<_>>>()?;
    let times = "interval = \"200ms\", connect_timeout = \"1s\", receive_timeout = \"1s\"";
    let command = "command = [\"/bin/sh\", \"-c\", \"sleep 0.3; echo 1\"]";
    let advisors = [
        ("slow", format!("kind = \"http\", port = {SLOW}, {times}")),
        ("address", format!("kind = \"http\", target = \"address\", port = {SLOW}, {times}")),
        ("quick", format!("kind = \"http\", port = 80, {times}")),
        ("connect", format!("kind = \"connect\", port = 80, {times}")),
        ("ping", format!("kind = \"ping\", {times}")),
        ("command", format!("kind = \"exec\", {command}, {times}")),
    ];
    let mut daemon = lab.daemon(&services(&lab, &advisors))?;
    daemon.start()?;
    all_good(&daemon)?;
    none_failed(&daemon)?;
    for pause in [3000, 1300, 700] {
        let process = daemon.process()?;
        process.signal(Signal::SIGSTOP)?;
        sleep(Duration::from_millis(pause));
        process.signal(Signal::SIGCONT)?;
        sleep(Duration::from_millis(1500));
        none_failed(&daemon).with_context(|| format!("after {pause} ms"))?;
    }
    ensure!(daemon.log().contains("the controller stood still for "), "{}", daemon.log());
    // A backend that really goes down is still detected.
    lab.backends[0].ip(&format!("addr del {VIP4}/32 dev lo"))?;
    state_contains(&daemon, "quick", "web-1", "down: ", 10)?;
    Ok(())
}

/// Like a restart of the network: addresses disappear, and return while probes are in progress.
#[test]
fn an_own_address_that_is_away_for_a_moment_takes_no_backend_down() -> Result<()> {
    let Some(lab) = lab(&Plan::new("away").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let times = "interval = \"100ms\", connect_timeout = \"1s\", receive_timeout = \"1s\"";
    let mut text = String::new();
    for (name, vip) in [("web", IpAddr::V4(VIP4)), ("web6", VIP6.into())] {
        for (kind, port) in [("http", 80), ("ping", 81)] {
            let advisor =
                format!("protocol = \"tcp\"\nadvisor = {{ kind = \"{kind}\", {times} }}\n");
            let head = service(&format!("{name}-{kind}"), vip, port, "tcp");
            text += &head.replace("protocol = \"tcp\"\n", &advisor);
            for node in &lab.backends {
                let address = if vip.is_ipv4() { node.v4().into() } else { node.v6().into() };
                text += &backend(node.name(), address, 1);
            }
        }
    }
    let mut daemon = lab.daemon(&text)?;
    daemon.start()?;
    all_good(&daemon)?;
    let (v4, v6) = (format!("{}/24", lab.lb.v4()), format!("{}/64", lab.lb.v6()));
    for away in [300, 1200] {
        lab.lb.ip(&format!("addr del {v6} dev eth0"))?;
        lab.lb.ip(&format!("addr del {v4} dev eth0"))?;
        sleep(Duration::from_millis(away));
        lab.lb.ip(&format!("addr add {v4} dev eth0"))?;
        lab.lb.ip(&format!("addr add {v6} dev eth0 nodad"))?;
        sleep(Duration::from_secs(2));
    }
    none_failed(&daemon)
}

/// Writes a file with this mode.
fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Runs `then` while a file is missing.
fn without(file: &PathBuf, then: impl FnOnce() -> Result<()>) -> Result<()> {
    let away = file.with_extension("away");
    fs::rename(file, &away)?;
    let done = then();
    fs::rename(&away, file)?;
    done
}

/// Waits until none of a service's backends could be probed, for a reason that contains this.
fn not_probed(daemon: &Daemon, service: &str, why: &str) -> Result<()> {
    let prefix = format!("{service}/");
    eventually(Duration::from_secs(10), &format!("{service} not probed: {why}"), || {
        let all = backends(daemon)?;
        let mut ours = all.iter().filter(|(name, _)| name.starts_with(&prefix));
        Ok(ours.all(|(_, b)| b["advisor"]["not_probed"].as_str().is_some_and(|s| s.contains(why))))
    })
}

/// Sets a process's limit of descriptors; returns the old one.
fn set_descriptors(daemon: &Daemon, most: usize) -> Result<usize> {
    let pid = daemon.pid().context("pid")?.to_string();
    let before = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = before.lines().find(|line| line.starts_with("Max open files")).context("limits")?;
    let soft = line.split_whitespace().nth(3).context("soft limit")?.parse()?;
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={most}:")])
        .status()?;
    ensure!(status.success(), "prlimit: {status}");
    Ok(soft)
}

#[test]
fn what_the_own_host_lacks_is_held_against_no_backend() -> Result<()> {
    let Some(lab) = lab(&Plan::new("lacks").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let (script, key) = (lab.directory().join("check.sh"), lab.directory().join("agent.key"));
    put(&script, "#!/bin/sh\necho 5\n", 0o755)?;
    put(&key, "0123456789abcdef0123\n", 0o600)?;
    let agent = format!(
        "{} agent --key-file {} --metric memory=100 --interval 1s",
        binary()?.display(),
        key.display()
    );
    let agents = lab.backends.iter().map(|node| node.spawn("agent", &agent));
    let _agents = agents.collect::<Result<Vec<_>>>()?;
    // The agent measures before it answers.
    sleep(Duration::from_secs(3));
    let times = "interval = \"300ms\", connect_timeout = \"1s\", receive_timeout = \"1s\"";
    let advisors = [
        ("vip", format!("kind = \"http\", port = 80, {times}")),
        ("address", format!("kind = \"http\", port = 80, target = \"address\", {times}")),
        ("ping", format!("kind = \"ping\", {times}")),
        ("command", format!("kind = \"exec\", command = [{script:?}], {times}")),
        ("agent", format!("kind = \"agent\", key_file = {key:?}, {times}")),
    ];
    let mut daemon = lab.daemon(&services(&lab, &advisors))?;
    daemon.start()?;
    all_good(&daemon)?;
    without(&script, || not_probed(&daemon, "command", "no such file or directory"))?;
    // The key that was read stays in use: agents are still asked.
    without(&key, || {
        eventually(Duration::from_secs(10), "a word on the key", || {
            Ok(daemon.log().contains("its last content that was read stays in use"))
        })?;
        all_up(&daemon)
    })?;
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid().context("pid")?))?.count();
    let before = set_descriptors(&daemon, open.min(30))?;
    sleep(Duration::from_secs(2));
    set_descriptors(&daemon, before)?;
    eventually(Duration::from_secs(10), "all probed again", || {
        Ok(backends(&daemon)?.iter().all(|(_, b)| b["advisor"]["not_probed"].is_null()))
    })?;
    none_failed(&daemon)?;
    let counted = daemon.metric("dispatcher_advisor_probes_total", &["result=\"not_probed\""])?;
    ensure!(counted > 10.0, "{counted}");
    // It is reported once for both.
    without(&script, || {
        not_probed(&daemon, "command", "no such file")?;
        let status = daemon.ok("status")?;
        let lines: Vec<_> =
            status.lines().filter(|line| line.contains("could not probe")).collect();
        ensure!(lines.len() == 1, "{status}");
        ensure!(lines[0].contains("command/web-1, command/web-2"), "{status}");
        Ok(())
    })?;
    // The script's result counts again.
    put(&script, "#!/bin/sh\nexit 1\n", 0o755)?;
    state_contains(&daemon, "command", "web-1", "down: exec exit status: 1", 10)?;
    // A missing command leaves a backend that is down as it is.
    without(&script, || {
        not_probed(&daemon, "command", "no such file")?;
        state_contains(&daemon, "command", "web-1", "down: exec exit status: 1", 1).map(drop)
    })
}

fn probe_links(lab: &Lab) -> Result<String> {
    let links = lab.lb.ip("-o link show type veth")?;
    Ok(links.lines().filter(|line| line.contains("dsp-probe")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_way_of_probes_is_made_anew_and_is_nobody_elses() -> Result<()> {
    let Some(lab) = lab(&Plan::new("waygone").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let times = "interval = \"200ms\", connect_timeout = \"600ms\", receive_timeout = \"600ms\"";
    let advisors = [
        ("http", format!("kind = \"http\", port = 80, {times}")),
        ("ping", format!("kind = \"ping\", {times}")),
    ];
    let mut daemon = lab.daemon(&services(&lab, &advisors))?;
    daemon.start()?;
    all_good(&daemon)?;
    let good = |daemon: &Daemon| -> Result<u64> {
        let all = backends(daemon)?;
        let good = all.iter().filter_map(|(_, b)| b["advisor"]["probes"]["success"].as_u64());
        good.min().context("backends")
    };
    for what in ["link del dsp-probe0", "link set dsp-probe0 down", "link set dsp-probe0 mtu 68"] {
        let before = probe_links(&lab)?;
        lab.lb.ip(what)?;
        eventually(Duration::from_secs(5), &format!("another veth after {what}"), || {
            let now = probe_links(&lab)?;
            Ok(!now.is_empty() && now != before && now.contains("state UP"))
        })?;
        let so_far = good(&daemon)?;
        let probed = || Ok(good(&daemon)? >= so_far + 3);
        eventually(Duration::from_secs(10), "good probes again", probed)?;
        none_failed(&daemon).with_context(|| what.to_owned())?;
    }
    // Another controller in the same namespace, with its own pins and NIC, has its own veth.
    lab.lb.ip("link add other0 type veth peer name other1")?;
    lab.lb.ip("link set other0 up")?;
    lab.lb.ip("link set other1 up")?;
    lab.lb.ip("addr add 10.99.9.1/24 dev other0")?;
    let (socket, pins) =
        (lab.directory().join("2.sock"), PathBuf::from(format!("{}-2", lab.pin_dir().display())));
    let config = lab.directory().join("2.toml");
    let advisor = "protocol = \"tcp\"\nadvisor = { kind = \"connect\", interval = \"200ms\" }\n";
    let second = service("other", "10.99.9.80".parse()?, 80, "tcp");
    let text = format!(
        "interfaces = [\"other0\"]\napi_socket = {socket:?}\npin_dir = {pins:?}\nmetrics_listen = \"127.0.0.1:9465\"\n\n\
         [connections]\ncapacity = 65536\n\n{}{}",
        second.replace("protocol = \"tcp\"\n", advisor),
        backend("none", "10.99.9.7".parse()?, 1),
    );
    fs::write(&config, text)?;
    let run = format!("{} run -c {}", binary()?.display(), config.display());
    let mut other = lab.lb.spawn("second", &run)?;
    eventually(Duration::from_secs(15), "both veths", || {
        ensure!(other.runs()?, "{}", other.log());
        let links = probe_links(&lab)?;
        Ok(links.contains("dsp-probe0") && links.contains("dsp-probe1"))
    })
    .with_context(|| other.log())?;
    let so_far = good(&daemon)?;
    eventually(Duration::from_secs(10), "probes go on", || Ok(good(&daemon)? >= so_far + 5))?;
    none_failed(&daemon)?;
    other.signal(Signal::SIGTERM)?;
    other.wait(Duration::from_secs(10))?;
    let _left_empty = fs::remove_dir_all(&pins);
    ensure!(!probe_links(&lab)?.contains("dsp-probe1"), "{}", probe_links(&lab)?);
    none_failed(&daemon)
}

/// A row of dead backends with configured MACs, from this address on: no ARP is needed for them.
fn dead(number: u32) -> String {
    let at = |n: u32| format!("10.0.{}.{}", 100 + n / 200, 1 + n % 200);
    let of = |n: u32| {
        let address = at(n);
        format!(
            "[[service.backend]]\nname = \"dead-{n}\"\naddress = \"{address}\"\nweight = 1\n\
             mac = \"02:00:00:99:{:02x}:{:02x}\"\n\n",
            n >> 8,
            n & 0xff,
        )
    };
    (0..number).map(of).collect()
}

#[test]
fn dead_backends_do_not_fill_the_neighbour_table_nor_delay_others() -> Result<()> {
    const DEAD: u32 = 800;
    let Some(lab) = lab(&Plan::new("manydead").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    lab.lb.ip("addr add 10.0.255.1/16 dev eth0")?;
    let times = "interval = \"500ms\", connect_timeout = \"1s\", receive_timeout = \"1s\"";
    let http = format!("kind = \"http\", {times}");
    let well = services(&lab, &[("well", format!("{http}, port = 80"))]);
    let gone = services(&lab, &[("gone", http)]).replace("port = 81", "port = 82");
    let gone = gone.split("[[service.backend]]").next().context("service")?.to_owned();
    let mut daemon = lab.daemon(&(well + &gone + &dead(DEAD)))?;
    daemon.start()?;
    let down = || -> Result<usize> {
        let all = backends(&daemon)?;
        Ok(all.iter().filter(|(name, b)| name.starts_with("gone/") && b["up"] == false).count())
    };
    eventually(Duration::from_secs(30), "all dead ones down", || Ok(down()? == DEAD as usize))?;
    sleep(Duration::from_secs(2));
    let entries = lab.lb.ip("neigh show nud all dev eth0")?;
    let dead = entries.lines().filter(|line| line.starts_with("10.0.1")).count();
    ensure!(dead < 250, "{dead} entries of backends that nobody need ask for:\n{entries}");
    // As soon as without them.
    lab.backends[1].ip(&format!("addr del {VIP4}/32 dev lo"))?;
    state_contains(&daemon, "well", "web-2", "down: http ", 5)?;
    lab.backends[1].ip(&format!("addr add {VIP4}/32 dev lo"))?;
    state_contains(&daemon, "well", "web-2", "\"up\"", 5)?;
    let late = |whose: &str| {
        daemon.metric("dispatcher_advisor_lateness_seconds", &[&format!("backends=\"{whose}\"")])
    };
    let (up, other) = (late("up")?, late("other")?);
    ensure!(up < 2.0 && other > up, "{up} {other}");
    Ok(())
}
