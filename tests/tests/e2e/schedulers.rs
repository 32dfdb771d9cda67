//! Schedulers that go by counts and by hashes, and bounds on connections, with real connections that are held open.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Tally, eventually};

use crate::common::{VIPS, Web, backend_metric, noise, publish, reason, state_contains, tally};

/// A connection that stays, and its backend.
struct Held {
    stream: TcpStream,
    server: String,
}

/// Asks once on a connection that continues; returns the backend that answers.
fn ask(stream: &TcpStream) -> Result<String> {
    (&*stream).write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    let (mut answer, mut piece) = (String::new(), [0; 1024]);
    while !answer.ends_with("\n") || !answer.contains("\r\n\r\nweb-") {
        let length = (&*stream).read(&mut piece).context("read")?;
        ensure!(length > 0, "closed after {answer:?}");
        answer += &String::from_utf8_lossy(&piece[..length]);
    }
    let server = answer.lines().find_map(|line| line.strip_prefix("X-Backend: "));
    Ok(server.context("no X-Backend")?.trim().to_owned())
}

/// Opens this many connections in sequence, and keeps them.
fn hold(web: &Web, vip: IpAddr, number: usize) -> Result<Vec<Held>> {
    let client = web.lab.client();
    let mut held = Vec::new();
    for _ in 0..number {
        let stream = client.enter(|| {
            let wait = Duration::from_secs(2);
            Ok(TcpStream::connect_timeout(&(vip, 80).into(), wait)?)
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let server = ask(&stream)?;
        held.push(Held { stream, server });
    }
    Ok(held)
}

fn servers(held: &[Held]) -> Tally {
    let mut servers = Tally::new();
    for connection in held {
        *servers.entry(connection.server.clone()).or_default() += 1;
    }
    servers
}

/// Active connections of the backends of `web4`, from the metrics.
fn active(web: &Web) -> Result<Vec<f64>> {
    let names = web.lab.backends.iter().map(|node| node.name());
    names.map(|name| backend_metric(&web.daemon, "active_connections", "web4", name)).collect()
}

#[test]
fn the_backend_with_the_fewest_connections_gets_the_next() -> Result<()> {
    let Some(web) = Web::start("lc", &[2, 1, 1])? else { return Ok(()) };
    web.daemon.ok("service set web4 --scheduler lc")?;
    let mut held = hold(&web, VIPS[0], 12)?;
    assert_eq!(servers(&held), tally([("web-1", 4), ("web-2", 4), ("web-3", 4)]));
    assert_eq!(active(&web)?, [4.0, 4.0, 4.0]);
    // The connections of one backend stay, the others end.
    held.retain(|connection| connection.server == "web-1");
    eventually(Duration::from_secs(5), "ended connections", || {
        Ok(active(&web)? == [4.0, 0.0, 0.0])
    })?;
    held.extend(hold(&web, VIPS[0], 8)?);
    assert_eq!(servers(&held), tally([("web-1", 4), ("web-2", 4), ("web-3", 4)]));
    // By weights 2 : 1 : 1 the first lacks four of these.
    web.daemon.ok("service set web4 --scheduler wlc")?;
    held.extend(hold(&web, VIPS[0], 4)?);
    assert_eq!(servers(&held), tally([("web-1", 8), ("web-2", 4), ("web-3", 4)]));
    for connection in &held {
        assert_eq!(ask(&connection.stream)?, connection.server);
    }
    Ok(())
}

#[test]
fn a_full_backend_gets_no_more() -> Result<()> {
    let Some(web) = Web::start("full", &[1, 1])? else { return Ok(()) };
    web.daemon.ok("backend set web4 web-1 --max-connections 3")?;
    let mut held = hold(&web, VIPS[0], 12)?;
    assert_eq!(servers(&held), tally([("web-1", 3), ("web-2", 9)]));
    state_contains(&web.daemon, "web4", "web-1", "full: 3 of 3 connections", 3)?;
    // Now no backend has room: the bound applies to the next connection.
    web.daemon.ok("backend set web4 web-2 --max-connections 9")?;
    let before = reason(&web.daemon, "drop", "no_backend");
    assert!(hold(&web, VIPS[0], 1).is_err(), "both are full");
    assert!(reason(&web.daemon, "drop", "no_backend") > before);
    let last = held.iter().position(|c| c.server == "web-1").context("one of web-1")?;
    drop(held.remove(last));
    eventually(Duration::from_secs(5), "room on web-1", || Ok(active(&web)?[0] == 2.0))?;
    held.extend(hold(&web, VIPS[0], 1)?);
    assert_eq!(servers(&held), tally([("web-1", 3), ("web-2", 9)]));
    Ok(())
}

/// Ten seconds of requests, one connection each; none may fail, whatever is done meanwhile.
fn under_load(web: &Web, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut wrk = web.lab.client().command("wrk");
    wrk.args(["-t2", "-c16", "-d10s", "--timeout", "5s", "-H", "Connection: close"]);
    wrk.arg(format!("http://{}/", VIPS[0]));
    let mut wrk = web.lab.client().spawn_command("wrk", wrk)?;
    work()?;
    ensure!(wrk.runs()?, "the requests ended before the changes did: {}", wrk.log());
    let status = wrk.wait(Duration::from_secs(20))?;
    let said = wrk.log();
    ensure!(status == Some(0) && said.contains("requests in"), "{status:?}: {said}");
    ensure!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    Ok(())
}

#[test]
fn backends_come_and_go_under_load_without_a_failed_request() -> Result<()> {
    let Some(web) = Web::start("comego", &[3, 2, 1])? else { return Ok(()) };
    publish(&web.lab, "big", &noise(60_000_000))?;
    let transfer = web.lab.client().slow_download(VIPS[0], "/files/big")?;
    // Choose the one that does not serve the transfer.
    let going = if transfer.server() == "web-3" { "web-2" } else { "web-3" };
    let address = web.lab.node(going)?.v4();
    under_load(&web, || {
        for _ in 0..3 {
            web.daemon.ok(&format!("weight web4 {going} 20"))?;
            sleep(Duration::from_millis(300));
            web.daemon.ok(&format!("weight web4 {going} 0"))?;
            sleep(Duration::from_millis(100));
            web.daemon.ok(&format!("weight web4 {going} 5"))?;
            sleep(Duration::from_millis(300));
            web.daemon.ok(&format!("quiesce web4 {going}"))?;
            eventually(Duration::from_secs(5), "a drained backend", || {
                Ok(backend_metric(&web.daemon, "active_connections", "web4", going)? == 0.0)
            })?;
            web.daemon.ok(&format!("backend remove web4 {going}"))?;
            sleep(Duration::from_millis(300));
            web.daemon.ok(&format!("backend add web4 {going} --address {address}"))?;
            state_contains(&web.daemon, "web4", going, "up", 5)?;
        }
        Ok(())
    })?;
    assert_eq!(transfer.finish()?, noise(60_000_000), "a transfer went on throughout");
    let placed = backend_metric(&web.daemon, "connections_total", "web4", going)?;
    assert!(placed > 0.0, "{going} came back");
    Ok(())
}

#[test]
fn schedulers_change_under_load_without_a_failed_request() -> Result<()> {
    let Some(web) = Web::start("switch", &[3, 2, 1])? else { return Ok(()) };
    publish(&web.lab, "big", &noise(60_000_000))?;
    let transfer = web.lab.client().slow_download(VIPS[0], "/files/big")?;
    under_load(&web, || {
        for scheduler in ["lc", "maglev", "rtt", "rr", "wlc", "xmitbyte", "sh", "wrr"] {
            sleep(Duration::from_millis(900));
            web.daemon.ok(&format!("service set web4 --scheduler {scheduler}"))?;
        }
        Ok(())
    })?;
    assert_eq!(transfer.finish()?, noise(60_000_000), "a transfer went on throughout");
    Ok(())
}

#[test]
fn hashed_flows_stay_where_they_are_when_the_table_has_forgotten_them() -> Result<()> {
    let Some(web) = Web::start("maglev", &[1, 1, 1])? else { return Ok(()) };
    web.daemon.ok("service set web4 --scheduler maglev --stale-timeout 1s")?;
    let held = hold(&web, VIPS[0], 30)?;
    assert_eq!(servers(&held).len(), 3, "{:?}", servers(&held));
    assert_eq!(active(&web)?.iter().sum::<f64>(), 30.0);
    eventually(Duration::from_secs(30), "an empty table", || {
        Ok(web.daemon.metric("dispatcher_connections", &[])? == 0.0)
    })?;
    for connection in &held {
        assert_eq!(ask(&connection.stream)?, connection.server);
    }
    let mut want = servers(&held);
    let want = ["web-1", "web-2", "web-3"].map(|name| f64::from(want.remove(name).unwrap_or(0)));
    assert_eq!(active(&web)?, want);
    // With sh all connections of a client go to one backend.
    web.daemon.ok("service set web4 --scheduler sh")?;
    assert_eq!(servers(&hold(&web, VIPS[0], 10)?).len(), 1);
    Ok(())
}
