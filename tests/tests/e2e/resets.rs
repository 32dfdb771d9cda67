//! Clients of a backend that is taken down with `on_down = "reset"`.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_lab::{Node, eventually};

use crate::common::{VIPS, Web, backend_metric, reason, resetting, web};

/// A connection that stays open, and which backend answered on it.
fn connect(client: &Node, vip: IpAddr) -> Result<(TcpStream, String)> {
    let stream = client.enter(|| Ok(TcpStream::connect((vip, 80))?))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let who = ask(&stream)?;
    Ok((stream, who))
}

/// Asks on a connection which backend serves it.
fn ask(mut stream: &TcpStream) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer)?;
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let who = answer.lines().find_map(|line| line.strip_prefix("X-Backend: "));
    Ok(who.with_context(|| format!("answer {answer:?}"))?.to_owned())
}

/// A connection to this backend.
fn connect_to(client: &Node, vip: IpAddr, backend: &str) -> Result<TcpStream> {
    for _ in 0..4 {
        let (stream, who) = connect(client, vip)?;
        if who == backend {
            return Ok(stream);
        }
    }
    bail!("no connection went to {backend}")
}

#[test]
fn clients_of_a_backend_that_is_taken_down_are_reset_and_reconnect_at_once() -> Result<()> {
    let Some(web_) = resetting("resets", 2)? else { return Ok(()) };
    let Web { daemon, _servers, lab } = web_;
    let client = lab.client();
    for vip in VIPS {
        let idle = connect_to(client, vip, "web-1")?;
        let other = connect_to(client, vip, "web-2")?;
        daemon.ok(&format!("down {} web-1", web(vip)))?;
        let start = Instant::now();
        let error = ask(&idle).expect_err("the backend is down");
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::ConnectionReset), "{vip}: {error:#}");
        ensure!(connect(client, vip)?.1 == "web-2", "{vip}: the new connection");
        let took = start.elapsed();
        ensure!(took < Duration::from_secs(1), "{vip}: reset and reconnected after {took:?}");
        // The other backend's connections stay.
        ensure!(ask(&other)? == "web-2", "{vip}: a connection that is not concerned");
        eventually(Duration::from_secs(8), "an end of the connection in the table", || {
            Ok(backend_metric(&daemon, "active_connections", web(vip), "web-1")? == 0.0)
        })?;
        daemon.ok(&format!("up {} web-1", web(vip)))?;
    }
    ensure!(reason(&daemon, "tx", "reset") >= 2.0);
    Ok(())
}

#[test]
fn a_transfer_under_way_is_reset_too() -> Result<()> {
    let Some(web_) = resetting("resetting", 1)? else { return Ok(()) };
    let Web { daemon, _servers, lab } = web_;
    for vip in VIPS {
        let mut stream = lab.client().enter(|| Ok(TcpStream::connect((vip, 80))?))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /files/big HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let mut piece = vec![0; 100_000];
        stream.read_exact(&mut piece)?;
        daemon.ok(&format!("down {} web-1", web(vip)))?;
        // Data already on its way arrives first; then the reset, whichever of the client's packets it answers.
        let error = loop {
            match stream.read(&mut piece) {
                Ok(0) => bail!("{vip}: the transfer ended"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{vip}: {error}");
        daemon.ok(&format!("up {} web-1", web(vip)))?;
    }
    Ok(())
}

#[test]
fn clients_of_a_backend_that_is_removed_are_reset_however_late_they_send() -> Result<()> {
    let Some(web_) = resetting("removed", 2)? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web_;
    let client = lab.client();
    for vip in VIPS {
        let early = connect_to(client, vip, "web-1")?;
        let late = connect_to(client, vip, "web-1")?;
        let other = connect_to(client, vip, "web-2")?;
        daemon.ok(&format!("backend remove {} web-1", web(vip)))?;
        is_reset(&early)?;
        // Some sweeps later, and under another controller.
        std::thread::sleep(Duration::from_secs(3));
        daemon.kill();
        daemon.start()?;
        is_reset(&late)?;
        assert_eq!(ask(&other)?, "web-2");
        assert_eq!(connect(client, vip)?.1, "web-2", "new connections");
    }
    Ok(())
}

/// The next packet is answered by an RST.
fn is_reset(stream: &TcpStream) -> Result<()> {
    let error = ask(stream).expect_err("the backend is gone");
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    ensure!(kind == Some(ErrorKind::ConnectionReset), "{error:#}");
    Ok(())
}
