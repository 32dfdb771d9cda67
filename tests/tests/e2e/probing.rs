//! Measures the cost of probing five thousand backends every two seconds. Run it by hand with a release build:
//!
//! `cargo xtask build && cargo test -p dispatcher-tests --test e2e probing -- --ignored --nocapture`

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Plan, VIP4, eventually};

use crate::common::{lab, service};

const SERVICES: u16 = 5;
const BACKENDS: u16 = 1000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";
const SPAN: Duration = Duration::from_secs(20);

#[test]
#[ignore = "a measurement, for release builds"]
fn five_thousand_backends_are_probed_every_two_seconds() -> Result<()> {
    for kind in ["connect", "http"] {
        let Some(lab) = lab(&Plan::new("probing").backends(1))? else { return Ok(()) };
        // Every address of the network is this host's own: one listener is all of the backends.
        lab.lb.ip("route add local 10.64.0.0/16 dev lo")?;
        let listener = lab.lb.enter(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?))?;
        for _ in 0..4 {
            let listener = listener.try_clone()?;
            // The thread ends with the process: nothing else stops its listener.
            thread::spawn(move || answer(&listener));
        }
        let mut daemon = lab.daemon(&services(kind))?;
        daemon.start()?;
        eventually(Duration::from_secs(60), "backends that are all probed", || {
            Ok(probes(&daemon, "success")? >= f64::from(SERVICES * BACKENDS))
        })?;
        let (good, bad) = (probes(&daemon, "success")?, probes(&daemon, "failure")?);
        let (before, start) = (ticks(&daemon)?, Instant::now());
        thread::sleep(SPAN);
        let (busy, seconds) = (ticks(&daemon)? - before, start.elapsed().as_secs_f64());
        let (good, bad) = (probes(&daemon, "success")? - good, probes(&daemon, "failure")? - bad);
        let cpu = busy as f64 / seconds;
        println!(
            "{kind}: {:.0} probes/s, {bad} failed, {cpu:.1} % of one CPU, {:.0} us a probe",
            good / seconds,
            cpu * 1e4 / (good / seconds),
        );
        // The expected number, except for probes that a slow test machine makes late.
        ensure!(good / seconds > 0.8 * f64::from(SERVICES * BACKENDS) / 2.0, "{good} probes");
        ensure!(bad == 0.0, "{bad} probes failed");
    }
    Ok(())
}

fn services(kind: &str) -> String {
    let mut text = String::new();
    for i in 0..SERVICES {
        text += &service(&format!("s{i}"), VIP4.into(), 80 + i, "tcp");
        text += &format!(
            "advisor = {{ kind = \"{kind}\", target = \"address\", interval = \"2s\", port = 80 }}\n\n"
        );
        for n in 0..BACKENDS {
            let number = i * BACKENDS + n;
            let address = Ipv4Addr::new(10, 64, (number >> 8) as u8, number as u8);
            text += &format!(
                "[[service.backend]]\nname = \"b{n}\"\naddress = \"{address}\"\nlocal = true\n\n"
            );
        }
    }
    text
}

fn answer(listener: &TcpListener) {
    let mut request = [0; 1024];
    for mut stream in listener.incoming().flatten() {
        // A client that only connects is gone by now.
        if stream.read(&mut request).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(ANSWER);
        }
    }
}

/// Probes so far with this result.
fn probes(daemon: &Daemon, result: &str) -> Result<f64> {
    daemon.metric("dispatcher_advisor_probes_total", &[&format!("result=\"{result}\"")])
}

/// CPU time of the daemon, in hundredths of a second.
fn ticks(daemon: &Daemon) -> Result<u64> {
    let pid = daemon.pid().context("the daemon runs")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
