//! The controller dies, the datapath continues, and the next controller takes over: nothing is lost.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, OTHER_VIP4, Tally};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::common::{VIPS, Web, backend, backend_of, noise, publish, service, tally, web_services};

/// Repeats requests to both VIPs until `work` is done; the tally has the failures.
pub(crate) fn under_traffic(lab: &Lab, work: impl FnOnce() -> Result<()>) -> Result<Tally> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let clients: Vec<_> = VIPS
            .into_iter()
            .map(|vip| {
                let client = lab.client();
                scope.spawn(move || -> Result<Tally> {
                    let mut all = Tally::new();
                    while !done.load(Ordering::Relaxed) {
                        for (who, number) in client.quick_requests(vip, 50)? {
                            *all.entry(who).or_default() += number;
                        }
                    }
                    Ok(all)
                })
            })
            .collect();
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let mut all = Tally::new();
        for client in clients {
            for (who, number) in client.join().expect("no panic")? {
                *all.entry(who).or_default() += number;
            }
        }
        worked.map(|()| all)
    })
}

pub(crate) fn errors(tally: &Tally) -> u32 {
    tally.iter().filter(|(who, _)| who.starts_with("error")).map(|(_, number)| number).sum()
}

/// What happened to packets, to find out why a request failed.
pub(crate) fn seen(daemon: &Daemon) -> Result<String> {
    let metrics = daemon.metrics()?;
    let lines = metrics.lines().filter(|line| line.starts_with("dispatcher_packets_total"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_killed_controller_and_its_successor_lose_nothing() -> Result<()> {
    let Some(mut web) = Web::start("takeover", &[3, 2, 1])? else { return Ok(()) };
    let file = noise(200_000_000);
    publish(&web.lab, "big", &file)?;
    web.daemon.ok("weight web4 web-1 6")?;
    web.daemon.ok("quiesce web4 web-2")?;
    let client = web.lab.client().clone();
    let transfers = VIPS.map(|vip| client.slow_download(vip, "/files/big"));
    let before = web.daemon.json("status")?["pid"].clone();

    web.daemon.kill();
    let orphaned = client.requests(VIPS[0], 150)?;
    assert_eq!(errors(&orphaned), 0, "without a controller: {orphaned:?}");
    web.daemon.launch()?;
    let during = client.requests(VIPS[0], 150)?;
    assert_eq!(errors(&during), 0, "during the takeover: {during:?}");
    assert!(!orphaned.contains_key("web-2") && !during.contains_key("web-2"), "quiesced");
    web.daemon.wait_ready()?;
    assert_ne!(web.daemon.json("status")?["pid"], before);

    // Changes at runtime survive with the datapath.
    assert_eq!(backend_of(&web.daemon, "web4", "web-1")?["weight"], 6);
    assert_eq!(backend_of(&web.daemon, "web4", "web-2")?["quiesced"], true);
    assert_eq!(web.requests(VIPS[0], 70)?, tally([("web-1", 60), ("web-3", 10)]));
    for transfer in transfers {
        ensure!(transfer?.finish()? == file, "the transferred file differs");
    }
    Ok(())
}

#[test]
fn counts_survive_a_takeover() -> Result<()> {
    let Some(mut web) = Web::start("counts", &[1, 1])? else { return Ok(()) };
    web.requests(VIPS[0], 40)?;
    let before = backend_of(&web.daemon, "web4", "web-1")?;
    web.daemon.kill();
    web.requests(VIPS[0], 40)?;
    web.daemon.start()?;
    let after = backend_of(&web.daemon, "web4", "web-1")?;
    assert_eq!((&before["connections"], &after["connections"]), (&20.into(), &40.into()));
    Ok(())
}

#[test]
fn controllers_killed_at_any_moment_of_a_takeover_lose_nothing() -> Result<()> {
    let Some(web) = Web::start("moments", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let traffic = under_traffic(&lab, || {
        daemon.kill();
        for millis in [1, 3, 6, 10, 15, 20, 30, 40, 55, 70, 90, 120, 160, 210, 280, 400, 600] {
            daemon.launch()?;
            std::thread::sleep(Duration::from_millis(millis));
            daemon.kill();
        }
        daemon.start()
    })?;
    assert_eq!(errors(&traffic), 0, "{traffic:?}");
    ensure!(traffic.values().sum::<u32>() > 300, "too little traffic to prove anything");
    exact_shares(&lab)
}

#[test]
fn controllers_killed_at_any_moment_of_a_reload_lose_nothing() -> Result<()> {
    let Some(web) = Web::start("reloads", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let configurations =
        [[1, 2, 3], [3, 2, 1]].map(|w| lab.general(&["eth0"]) + &web_services(&lab, &w));
    let traffic = under_traffic(&lab, || {
        for (i, micros) in [0, 300, 700, 1200, 2000, 3500, 6000, 10_000].into_iter().enumerate() {
            daemon.write(&configurations[i % 2])?;
            daemon.process()?.signal(Signal::SIGHUP)?;
            std::thread::sleep(Duration::from_micros(micros));
            daemon.kill();
            daemon.start()?;
        }
        Ok(())
    })?;
    assert_eq!(errors(&traffic), 0, "{traffic:?}");
    // Whatever was applied before a kill, the last start has applied the current file.
    exact_shares(&lab)
}

/// System calls that change what others see: maps, pins, links, files, VIPs and announcements.
pub(crate) const STEPS: &str = "bpf,unlink,unlinkat,rename,renameat,renameat2,mkdir,sendto";

/// The next step to try: every one at first, then ever fewer, because later steps are alike. All of them with
/// `DISPATCHER_EVERY_STEP` in the environment.
fn after(step: u32) -> u32 {
    let every = std::env::var_os("DISPATCHER_EVERY_STEP").is_some();
    step + 1 + if every { 0 } else { step / 12 }
}

#[test]
fn controllers_killed_at_each_system_call_of_a_takeover_lose_nothing() -> Result<()> {
    let Some(web) = Web::start("steps", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let mut killed = 0;
    let traffic = under_traffic(&lab, || {
        daemon.kill();
        let mut step = 1;
        loop {
            daemon.launch_traced(&format!("{STEPS}:signal=SIGKILL:when={step}"))?;
            let ended = daemon.wait_ended_or_ready()?;
            daemon.kill();
            if !ended {
                break;
            }
            killed += 1;
            step = after(step);
        }
        daemon.start()
    })?;
    println!("killed at {killed} steps; {traffic:?}");
    assert_eq!(errors(&traffic), 0, "{traffic:?}\n{}", seen(&daemon)?);
    ensure!(killed > 20, "killed at {killed} steps only: is strace at work?");
    exact_shares(&lab)
}

#[test]
fn controllers_killed_at_each_system_call_of_a_reload_lose_nothing() -> Result<()> {
    let Some(web) = Web::start("calls", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let mut configurations =
        [[1, 2, 3], [3, 2, 1]].map(|w| lab.general(&["eth0"]) + &web_services(&lab, &w));
    // Weights alone only change memory: adding and removing a service and a VIP needs system calls.
    let more = service("more", OTHER_VIP4.into(), 8080, "tcp");
    configurations[0] += &(more + &backend("one", lab.backends[0].v4().into(), 1));
    let mut killed = 0;
    let traffic = under_traffic(&lab, || {
        let mut step = 1;
        for configuration in configurations.iter().cycle() {
            daemon.write(configuration)?;
            let strace = daemon.trace(&format!("{STEPS}:signal=SIGKILL:when={step}"))?;
            let reloaded = daemon.cli(["reload"])?;
            drop(strace);
            if reloaded.status == 0 {
                break;
            }
            daemon.kill();
            daemon.start()?;
            killed += 1;
            step = after(step);
        }
        daemon.write(&configurations[1])?;
        daemon.ok("reload").map(drop)
    })?;
    println!("killed at {killed} steps; {traffic:?}");
    assert_eq!(errors(&traffic), 0, "{traffic:?}\n{}", seen(&daemon)?);
    ensure!(killed > 5, "killed at {killed} steps only: is strace at work?");
    exact_shares(&lab)
}

/// 3:2:1 over both VIPs, from ports that were not used before: a connection on a port that is reused at once takes no
/// turn of the schedule.
pub(crate) fn exact_shares(lab: &Lab) -> Result<()> {
    for vip in VIPS {
        let got = lab.client().pinned_requests(vip, 60, 0)?;
        assert_eq!(got, tally([("web-1", 30), ("web-2", 20), ("web-3", 10)]), "{vip}");
    }
    Ok(())
}

#[test]
fn stopped_with_leave_attached_it_goes_on_forwarding() -> Result<()> {
    let Some(mut web) = Web::start("leave", &[1, 1])? else { return Ok(()) };
    assert_eq!(web.daemon.stop()?, Some(0));
    web.daemon.launch_with(&["--leave-attached"])?;
    web.daemon.wait_ready()?;
    crate::common::all_up(&web.daemon)?;
    assert_eq!(web.daemon.stop()?, Some(0));
    assert_eq!(web.requests(VIPS[0], 20)?, tally([("web-1", 10), ("web-2", 10)]));
    web.daemon.start()?;
    assert_eq!(web.requests(VIPS[0], 20)?, tally([("web-1", 10), ("web-2", 10)]));
    Ok(())
}

/// Sets a weight over the socket; returns whether the daemon confirmed it.
fn set_weight(socket: &Path, weight: u32) -> bool {
    let body = format!("{{\"weight\": {weight}}}");
    let request = format!(
        "PATCH /v1/services/web4/backends/web-1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    answer().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Each change amends the controller's record by more than a kilobyte. After at most 32 changes it is written as a whole, next
/// to later changes.
/// the changes that follow.
#[test]
fn a_controller_killed_while_weights_change_has_set_what_it_said() -> Result<()> {
    let Some(web) = Web::start("amended", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let socket = lab.directory().join("api.sock");
    let kills =
        [(4, 0), (16, 0), (18, 300), (20, 0), (21, 600), (22, 1200), (24, 2500), (27, 5000)];
    for (changes, micros) in kills.into_iter().chain([(32, 400), (60, 0), (90, 1000)]) {
        let pid = daemon.pid().context("it runs")?;
        let said = std::thread::scope(|scope| {
            let mut set = (0..).take_while(|n| set_weight(&socket, 1 + n % 20));
            let before = set.nth(changes);
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(micros));
                kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)
            });
            set.last().or(before)
        });
        daemon.kill();
        daemon.start()?;
        let said = said.context("it died before it was killed")?;
        let weight = backend_of(&daemon, "web4", "web-1")?["weight"].clone();
        // The next weight may be set, too, without having been confirmed.
        let may_be = [said, said + 1].map(|n| serde_json::Value::from(1 + n % 20));
        ensure!(may_be.contains(&weight), "{weight}, expected one of {may_be:?} after {said}");
    }
    Ok(())
}
