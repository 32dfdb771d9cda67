//! A million connections, and ten million: whether and how fast they are listed, what the daemon costs with them, and
//! whether traffic continues. Run these measurements by hand with a release build:
//!
//! `cargo xtask build && cargo test -p dispatcher-tests --test e2e scale -- --ignored --nocapture --test-threads 1`
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    connection::{WAYS, buckets},
    maps,
};
use dispatcher_lab::{Daemon, Lab, Plan, VIP4, eventually};
use dispatcher_tests::fill::{fill_table, map_memory};
use serde_json::Value;

use crate::common::{all_up, backend, lab, service};

/// MB that an idle daemon may use in addition to the table.
const LITTLE: u64 = 64;

#[test]
#[ignore = "a measurement, for release builds"]
fn a_million_connections_are_listed_and_swept() -> Result<()> {
    with_connections("scale", 1_000_000)
}

#[test]
#[ignore = "a measurement, for release builds, which takes two GB"]
fn ten_million_connections_are_listed_and_swept() -> Result<()> {
    with_connections("scale10", 10_000_000)
}

fn with_connections(name: &str, connections: u32) -> Result<()> {
    let Some(lab) = lab(&Plan::new(name).backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let mut daemon = lab.daemon("")?;
    let capacity = format!("capacity = {connections}");
    let mut text = lab.general(&["eth0"]).replace("capacity = 65536", &capacity);
    text += &(service("web", VIP4.into(), 80, "tcp") + "stale_timeout = \"1h\"\n");
    // The usual interval, like an idle daemon.
    text += "[service.advisor]\nkind = \"http\"\ntarget = \"address\"\n\n";
    for node in &lab.backends {
        text += &backend(node.name(), node.v4().into(), 1);
    }
    daemon.write(&text)?;
    daemon.start()?;
    all_up(&daemon)?;
    let table = memory(&lab, connections)?;
    busy("empty", &daemon)?;
    fill_table(&lab, VIP4, 80, &[1, 2], connections)?;
    let mut number = 0;
    eventually(Duration::from_secs(40), "a sweep over all of them", || {
        number = daemon.json("status")?["connections"]["connections"].as_u64().unwrap_or(0);
        Ok(number > 999 * u64::from(connections) / 1000)
    })
    .with_context(|| format!("{number} connections"))?;
    busy(&format!("{number} connections"), &daemon)?;
    let before = resident(&daemon)?;
    lists(&daemon, number)?;
    let (after, most) = (resident(&daemon)?, field(&daemon, "VmHWM:")?);
    println!("daemon: {before} MB before the lists, {after} MB after, {most} MB at most");
    // The part of the table that was read is resident, too.
    ensure!(most < before + table + 100, "a listing took {} MB", most - before);
    traffic(&lab, &daemon)?;
    daemon.ok("manager set enabled true")?;
    std::thread::sleep(Duration::from_secs(5));
    busy("the manager on", &daemon)
}

/// With all these connections, new ones are opened, placed evenly, served and counted.
fn traffic(lab: &Lab, daemon: &Daemon) -> Result<()> {
    const REQUESTS: u32 = 2000;
    let start = Instant::now();
    let tally = lab.client().quick_requests(VIP4.into(), REQUESTS)?;
    println!("{REQUESTS} requests, each a connection: {:.2?}", start.elapsed());
    ensure!(tally.len() == 2 && tally.values().all(|n| *n == REQUESTS / 2), "{tally:?}");
    let fill = daemon.json("status")?["connections"].clone();
    println!("table: fill {}, overflow {}", fill["fill"], fill["overflow_connections"]);
    Ok(())
}

/// Lists some connections, or all if these are not too many, and prints how long it took.
fn lists(daemon: &Daemon, number: u64) -> Result<()> {
    let mut wanted = vec![
        ("--limit 100", 100, 100),
        ("--client 10.128.3.231", 980, 1000),
        ("web --backend web-2 --limit 100", 100, 100),
        ("--client 10.0.0.1", 0, 0),
        ("--limit 100000", 100_000, 100_000),
    ];
    if number < 2_000_000 {
        wanted.push(("--limit 2000000", number, number));
    }
    for (what, least, most) in wanted {
        let start = Instant::now();
        let said = daemon.ok(&format!("connections {what} -o json"))?;
        let took = start.elapsed();
        let listed: Value = serde_json::from_str(&said)?;
        let count = listed["connections"].as_array().context("connections")?.len() as u64;
        println!("connections {what}: {count} in {took:.2?}, {} MB", said.len() / 1_000_000);
        ensure!((least..=most).contains(&count), "{what}: {count} connections");
    }
    Ok(())
}

/// Prints the memory of the maps as the kernel accounts for it, and per connection; returns the table's MB.
fn memory(lab: &Lab, connections: u32) -> Result<u64> {
    let maps = map_memory(lab)?;
    let of = |name: &str| {
        maps.iter().filter(|(map, _)| map == name).map(|(_, bytes)| bytes).sum::<u64>()
    };
    let all: u64 = maps.iter().map(|(_, bytes)| bytes).sum();
    let table = of(maps::CONNECTIONS) + of(maps::FLOWS);
    let ways = buckets(u64::from(connections)) * WAYS as u64;
    println!(
        "maps: {} MB, of these ways {} MB, flows {} MB for {ways} ways: {:.1} bytes a way, {:.1} for each \
         of {connections} connections ({:.1} % of the ways)",
        all >> 20,
        of(maps::CONNECTIONS) >> 20,
        of(maps::FLOWS) >> 20,
        table as f64 / ways as f64,
        table as f64 / f64::from(connections),
        f64::from(connections) / ways as f64 * 100.0,
    );
    Ok(table >> 20)
}

/// Prints the CPU share of the daemon and of its sweeping thread over twenty seconds, and its resident memory.
fn busy(what: &str, daemon: &Daemon) -> Result<()> {
    let (all, sweeper) = ticks(daemon)?;
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(20));
    let (all_now, sweeper_now) = ticks(daemon)?;
    let share = |hundredths: u64| hundredths as f64 / start.elapsed().as_secs_f64();
    let own = field(daemon, "RssAnon:")?;
    println!(
        "{what}: {:.2} % of one CPU, {:.2} % for sweeps; {} MB resident, {own} of them its own",
        share(all_now - all),
        share(sweeper_now - sweeper),
        resident(daemon)?,
    );
    ensure!(own < LITTLE, "{own} MB beside the table");
    Ok(())
}

/// CPU time of the daemon, ended threads included, and of its sweeping thread, in hundredths of a second.
fn ticks(daemon: &Daemon) -> Result<(u64, u64)> {
    let process = format!("/proc/{}", daemon.pid().context("the daemon runs")?);
    let (_, all) = run_time(&process)?;
    for task in fs::read_dir(format!("{process}/task"))? {
        let (name, ticks) = run_time(&task?.path().to_string_lossy())?;
        if name == "sweeper" {
            return Ok((all, ticks));
        }
    }
    anyhow::bail!("no sweeping thread")
}

/// A thread's name and CPU time, in hundredths of a second.
fn run_time(process: &str) -> Result<(String, u64)> {
    let stat = fs::read_to_string(format!("{process}/stat"))?;
    let (name, rest) = stat.rsplit_once(") ").context("a name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let name = name.split_once('(').context("a name")?.1.to_owned();
    Ok((name, fields[11].parse::<u64>()? + fields[12].parse::<u64>()?))
}

fn resident(daemon: &Daemon) -> Result<u64> {
    field(daemon, "VmRSS:")
}

/// MB of a line of the daemon's status.
fn field(daemon: &Daemon, key: &str) -> Result<u64> {
    let pid = daemon.pid().context("the daemon runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context(key.to_owned())?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
