//! Quiesce with real transfers: waiting for their end, and deadlines that break them.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_lab::{Daemon, Lab, Process, binary, eventually};

use crate::common::{VIPS, Web, backend_of, noise, publish, resetting, web};

/// Runs a verb in the background; its output is in its log.
fn begin(lab: &Lab, log: &str, line: &str) -> Result<Process> {
    let mut command = lab.lb.command(&binary()?);
    command.args(line.split_whitespace());
    command.env("DISPATCHER_API_SOCKET", lab.directory().join("api.sock"));
    lab.lb.spawn_command(log, command)
}

/// The beginning of a large download.
fn download(lab: &Lab, vip: IpAddr) -> Result<TcpStream> {
    let mut stream = lab.client().enter(|| Ok(TcpStream::connect((vip, 80))?))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /files/big HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    stream.read_exact(&mut vec![0; 100_000])?;
    Ok(stream)
}

/// Reads until the connection is reset.
fn is_reset(mut stream: TcpStream) -> Result<()> {
    let mut piece = vec![0; 100_000];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => bail!("the transfer ended"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => bail!("{error}, expected a reset"),
        }
    }
}

fn deadline(daemon: &Daemon, vip: IpAddr) -> Result<Option<f64>> {
    Ok(backend_of(daemon, web(vip), "web-1")?["quiesce_deadline"].as_f64())
}

#[test]
fn waiting_ends_when_the_last_transfer_does() -> Result<()> {
    let Some(web_) = Web::start("drain", &[1, 1])? else { return Ok(()) };
    publish(&web_.lab, "big", &noise(60_000_000))?;
    for vip in VIPS {
        let transfer = web_.lab.client().slow_download(vip, "/files/big")?;
        let (service, server) = (web(vip), transfer.server().to_owned());
        let line = format!("quiesce {service} {server} --wait --deadline 2m");
        let mut waits = begin(&web_.lab, service, &line)?;
        let object = format!("backend {service}/{server}: quiesced");
        eventually(Duration::from_secs(5), "a line of progress", || {
            Ok(waits.log().contains(&format!("{object}, connections left: 1\n")))
        })?;
        // New ones go elsewhere meanwhile.
        let others = web_.requests(vip, 10)?;
        ensure!(others.len() == 1 && !others.contains_key(&server), "{others:?}");
        ensure!(waits.runs()?, "it waits no longer: {}", waits.log());
        ensure!(transfer.finish()?.len() == 60_000_000);
        let start = Instant::now();
        assert_eq!(waits.wait(Duration::from_secs(5))?, Some(0), "{}", waits.log());
        ensure!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let log = waits.log();
        ensure!(log.ends_with(&format!("{object}, no connections left\n")), "{log}");
        // There is nothing to wait for.
        let said = web_.daemon.cli(["quiesce", service, &server, "--wait"])?;
        ensure!(said.status == 0 && said.err.is_empty(), "{said:?}");
        web_.daemon.ok(&format!("unquiesce {service} {server}"))?;
    }
    let said = web_.daemon.cli(["quiesce", "web4", "web-1", "--deadline", "0s"])?;
    ensure!(said.status == 2 && said.err.contains("expected more than 0s"), "{said:?}");
    let transfer = web_.lab.client().slow_download(VIPS[0], "/files/big")?;
    let server = transfer.server().to_owned();
    let mut waits = begin(&web_.lab, "undone", &format!("quiesce web4 {server} --wait"))?;
    eventually(Duration::from_secs(5), "progress", || Ok(waits.log().contains("left: 1")))?;
    web_.daemon.ok(&format!("unquiesce web4 {server}"))?;
    assert_eq!(waits.wait(Duration::from_secs(5))?, Some(1));
    ensure!(waits.log().ends_with("was unquiesced meanwhile\n"), "{}", waits.log());
    Ok(())
}

/// Takes two ticks of the connections' clock and a sweep: 4.3 to 8.6 s, and 1.5 s.
#[test]
fn silent_connections_are_not_waited_for() -> Result<()> {
    let Some(web) = Web::start("silent", &[1])? else { return Ok(()) };
    let connect = || web.lab.client().enter(|| Ok(TcpStream::connect((VIPS[0], 80))?));
    let (_first, mut second) = (connect()?, connect()?);
    second.write_all(b"GET ")?;
    let mut waits = begin(&web.lab, "silent", "quiesce web4 web-1 --wait")?;
    eventually(Duration::from_secs(20), "a silent connection", || {
        Ok(waits.log().contains("quiesced, connections left: 1, and 1 silent\n"))
    })?;
    ensure!(waits.log().contains("quiesced, connections left: 2\n"), "{}", waits.log());
    ensure!(waits.runs()?, "it waits no longer: {}", waits.log());
    // The other connection has sent something: it is waited for until its client ends it.
    drop(second);
    assert_eq!(waits.wait(Duration::from_secs(8))?, Some(0), "{}", waits.log());
    ensure!(waits.log().ends_with("no connections left but 1 silent\n"), "{}", waits.log());
    Ok(())
}

#[test]
fn a_deadline_breaks_what_is_left_also_under_another_controller() -> Result<()> {
    let Some(web) = resetting("deadline", 1)? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;

    let (mut kept, stream) = (download(&lab, VIPS[1])?, download(&lab, VIPS[0])?);
    let start = Instant::now();
    let said = daemon.cli(["quiesce", "web4", "web-1", "--wait", "--deadline", "2s"])?;
    let took = start.elapsed();
    ensure!(said.status == 1, "{said:?}");
    ensure!(
        said.err.ends_with("the deadline has passed, with connections left: 1, now broken\n"),
        "{said:?}"
    );
    ensure!((1.9..4.0).contains(&took.as_secs_f64()), "{took:?}");
    is_reset(stream).context("the transfer at the deadline")?;
    let state = backend_of(&daemon, "web4", "web-1")?;
    ensure!(state["down_by_hand"] == true && state["quiesced"] == true, "{state}");
    ensure!(state["quiesce_deadline"].is_null(), "{state}");
    ensure!(
        daemon.log().contains("backend web4/web-1: quiesce deadline passed, breaking 1 connection")
    );

    // Unquiescing removes the deadline.
    daemon.ok("quiesce web6 web-1 --deadline 2s")?;
    ensure!(deadline(&daemon, VIPS[1])?.is_some());
    ensure!(daemon.ok("backends web6")?.contains("quiesced, down in "));
    daemon.ok("unquiesce web6 web-1")?;
    ensure!(deadline(&daemon, VIPS[1])?.is_none());
    std::thread::sleep(Duration::from_secs(4));
    kept.read_exact(&mut vec![0; 100_000]).context("a transfer without a deadline")?;

    // The next controller keeps the deadline.
    daemon.ok("quiesce web6 web-1 --deadline 3s")?;
    daemon.kill();
    daemon.start()?;
    ensure!(deadline(&daemon, VIPS[1])?.is_some());
    eventually(Duration::from_secs(8), "end by deadline", || {
        Ok(backend_of(&daemon, "web6", "web-1")?["down_by_hand"] == true)
    })?;
    is_reset(kept).context("the transfer at the deadline of the former controller")?;
    Ok(())
}
