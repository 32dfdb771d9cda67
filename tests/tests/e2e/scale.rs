//! A million connections: that they are listed, how long it takes, and what the sweep costs. A measurement, to be run by
//! hand with a release build:
//!
//! `cargo xtask build && cargo test -p dispatcher-tests --test e2e scale -- --ignored --nocapture`

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_tests::lab::{Daemon, Plan, VIP4, eventually};
use serde_json::Value;

use crate::common::{all_up, backend, lab, service};

const CONNECTIONS: u32 = 1_000_000;

#[test]
#[ignore = "a measurement, for release builds"]
fn a_million_connections_are_listed_and_swept() -> Result<()> {
    let Some(lab) = lab(&Plan::new("scale").backends(2))? else { return Ok(()) };
    let mut text = service("web", VIP4.into(), 80, "tcp") + "stale_timeout = \"1h\"\n\n";
    for node in &lab.backends {
        text += &backend(node.name(), node.v4().into(), 1);
    }
    let mut daemon = lab.daemon("")?;
    let general = lab.general(&["eth0"]).replace("capacity = 65536", "capacity = 1_000_000");
    daemon.write(&(general + &text))?;
    daemon.start()?;
    all_up(&daemon)?;
    println!(
        "empty: {} of one CPU for sweeps, {} MB resident",
        sweeps(&daemon)?,
        resident(&daemon)? / 1024
    );
    lab.fill_table(VIP4, 80, &[1, 2], CONNECTIONS)?;
    let mut number = 0;
    eventually(Duration::from_secs(20), "a sweep over all of them", || {
        number = daemon.json("status")?["connections"]["connections"].as_u64().unwrap_or(0);
        Ok(number > 999 * u64::from(CONNECTIONS) / 1000)
    })
    .with_context(|| format!("{number} connections"))?;
    let before = resident(&daemon)?;
    println!("{number} connections: {} of one CPU for sweeps", sweeps(&daemon)?);
    for (what, least, most) in [
        ("--limit 100", 100, 100),
        ("--client 10.128.3.231", 990, 1000),
        ("web --backend web-2 --limit 100", 100, 100),
        ("--client 10.0.0.1", 0, 0),
        ("--limit 100000", 100_000, 100_000),
        ("--limit 2000000", number, number),
    ] {
        let start = Instant::now();
        let said = daemon.ok(&format!("connections {what} -o json"))?;
        let took = start.elapsed();
        let listed: Value = serde_json::from_str(&said)?;
        let count = listed["connections"].as_array().context("connections")?.len() as u64;
        println!("connections {what}: {count} in {took:.2?}, {} MB", said.len() / 1_000_000);
        ensure!((least..=most).contains(&count), "{what}: {count} connections");
    }
    let (after, most) = (resident(&daemon)?, peak(&daemon)?);
    println!(
        "daemon: {} MB before, {} MB after, {} MB at most",
        before / 1024,
        after / 1024,
        most / 1024
    );
    ensure!(most < before + 100 * 1024, "a listing took {} MB", (most - before) / 1024);
    Ok(())
}

/// Share of one CPU that the sweeping thread takes, over ten seconds.
fn sweeps(daemon: &Daemon) -> Result<String> {
    let before = ticks(daemon)?;
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let hundredths = ticks(daemon)? - before;
    Ok(format!("{:.2} %", hundredths as f64 / start.elapsed().as_secs_f64()))
}

/// Hundredths of a second that the sweeping thread has run.
fn ticks(daemon: &Daemon) -> Result<u64> {
    let tasks = format!("/proc/{}/task", daemon.pid().context("the daemon runs")?);
    for task in fs::read_dir(tasks)? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (name, rest) = stat.rsplit_once(") ").context("a name")?;
        if name.ends_with("(sweeper") {
            let fields: Vec<&str> = rest.split(' ').collect();
            return Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?);
        }
    }
    anyhow::bail!("no sweeping thread")
}

fn resident(daemon: &Daemon) -> Result<u64> {
    field(daemon, "VmRSS:")
}

fn peak(daemon: &Daemon) -> Result<u64> {
    field(daemon, "VmHWM:")
}

/// KiB of a line of the daemon's status.
fn field(daemon: &Daemon, key: &str) -> Result<u64> {
    let pid = daemon.pid().context("the daemon runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context(key.to_owned())?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
