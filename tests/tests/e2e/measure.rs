//! What is inferred from the client's packets alone, compared with transfers of known size and with a capture at the
//! backend.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{
    Captured, Daemon, Lab, Node, Paced, Plan, ask_paced, eventually, undisturbed,
};
use etherparse::{SlicedPacket, TransportSlice};
use serde_json::Value;

use crate::common::{VIPS, all_up, backend_of, lab, web, web_services};

/// Payload of one segment in these networks.
const MSS: u64 = 1460;
/// A stall that shows in a response time.
const STALL: Duration = Duration::from_millis(10);

/// A laboratory with paced servers, and a daemon whose services are measured.
struct Measured {
    // Dropped in this order.
    daemon: Daemon,
    _servers: Paced,
    lab: Lab,
}

fn start(name: &str, setting: &str, slower: &[u64]) -> Result<Option<Measured>> {
    let Some(lab) = lab(&Plan::new(name).backends(u8::try_from(slower.len())?))? else {
        return Ok(None);
    };
    let addresses = VIPS.map(|vip| SocketAddr::new(vip, 80));
    let _servers = lab.serve_paced(&addresses, slower)?;
    let services = web_services(&lab, &vec![1; slower.len()]);
    let services =
        services.replace("protocol = \"tcp\"\n", &format!("protocol = \"tcp\"\n{setting}\n"));
    let mut daemon = lab.daemon(&services)?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(Some(Measured { daemon, _servers, lab }))
}

impl Measured {
    /// The connection of a socket, as `connections` lists it.
    fn connection(&self, stream: &TcpStream) -> Result<Value> {
        let port = stream.local_addr()?.port();
        let listed = self.daemon.json("connections")?;
        let connections = listed["connections"].as_array().context("connections")?;
        let found = connections.iter().find(|c| c["client_port"] == port);
        found.cloned().with_context(|| format!("port {port} is not in {listed}"))
    }

    /// Waits until this many bytes are counted for a socket's connection, within one segment.
    fn delivered(&self, stream: &TcpStream, bytes: u64) -> Result<()> {
        let mut counted = 0;
        eventually(Duration::from_secs(3), "bytes within a segment", || {
            let connection = self.connection(stream)?;
            counted = connection["delivered_bytes"].as_u64().context("delivered_bytes")?;
            Ok(counted.abs_diff(bytes) < MSS)
        })
        .with_context(|| format!("{counted} bytes of {bytes}"))
    }

    /// Retransmissions of client and backend, and the dispatcher's drops: while these change, no time is valid.
    fn sent_again(&self) -> Result<String> {
        let again = |node: &Node| node.run("nstat -asz TcpRetransSegs");
        let status = self.daemon.json("status")?;
        let services = status["services"].as_array().context("services")?;
        let drops = services.iter().map(|s| s["drops"].to_string()).collect();
        Ok([again(self.lab.client())?, again(&self.lab.backends[0])?, drops].join("; "))
    }

    fn backend(&self, vip: IpAddr) -> Result<Value> {
        backend_of(&self.daemon, web(vip), self.lab.backends[0].name())
    }
}

#[test]
fn delivered_bytes_are_those_of_the_transfers() -> Result<()> {
    let Some(lab) = start("bytes", "measure = true", &[0])? else { return Ok(()) };
    for vip in VIPS {
        let mut sum = 0;
        let mut streams = Vec::new();
        for bytes in [1, 700, 20_000, 1_000_000, 30_000_000] {
            let stream = lab.lab.client().connect_paced(vip)?;
            ask_paced(&stream, bytes, Duration::ZERO)?;
            lab.delivered(&stream, bytes.into())?;
            // Once more on the same connection.
            ask_paced(&stream, bytes, Duration::ZERO)?;
            lab.delivered(&stream, 2 * u64::from(bytes))?;
            sum += 2 * u64::from(bytes);
            streams.push(stream);
        }
        let counted = lab.backend(vip)?["delivered_bytes"].as_u64().context("delivered_bytes")?;
        ensure!(counted.abs_diff(sum) < MSS * streams.len() as u64, "{counted} of {sum}");
    }
    Ok(())
}

#[test]
fn response_times_are_those_of_a_capture_at_the_backend() -> Result<()> {
    undisturbed(STALL, || {
        let Some(lab) = start("delays", "measure = true", &[0])? else { return Ok(()) };
        for vip in VIPS {
            let capture = lab.lab.backends[0].capture("eth0", "tcp port 80")?;
            let mut told = Vec::new();
            for wait in [5, 50, 200, 5, 50, 200] {
                let stream = lab.lab.client().connect_paced(vip)?;
                // A second request on the connection is timed like the first.
                for bytes in [100, 40_000] {
                    ask_paced(&stream, bytes, Duration::from_millis(wait))?;
                    lab.delivered(&stream, if bytes == 100 { 100 } else { 40_100 })?;
                    let seconds = lab.connection(&stream)?["response_seconds"].as_f64();
                    let seconds = Duration::from_secs_f64(seconds.context("response_seconds")?);
                    told.push((stream.local_addr()?.port(), seconds));
                }
            }
            let frames = capture.stop_timed()?;
            for (which, (port, seconds)) in told.iter().enumerate() {
                let truth = captured(&frames, *port)?[which % 2];
                let allowed = (truth / 10).max(Duration::from_millis(2));
                println!("{vip} port {port}: told {seconds:?}, captured {truth:?}");
                ensure!(
                    seconds.abs_diff(truth) <= allowed,
                    "{vip}: {seconds:?}, in truth {truth:?}; sent again: {}",
                    lab.sent_again()?
                );
            }
            let counted = lab.backend(vip)?["response_seconds"].clone();
            ensure!(counted["count"] == 12, "{counted}");
            let buckets = counted["buckets"].as_array().context("buckets")?;
            ensure!(buckets.len() > 5, "{counted}");
            for bucket in buckets {
                let le = Duration::from_secs_f64(bucket["le"].as_f64().context("le")?);
                let at_most = told.iter().filter(|(_, seconds)| *seconds <= le).count();
                ensure!(bucket["count"] == at_most, "{at_most} within {le:?}: {counted}");
            }
        }
        Ok(())
    })
}

/// How long each answer to a client's port took: from the request to the first bytes after it.
fn captured(frames: &[Captured], port: u16) -> Result<Vec<Duration>> {
    let (mut asked, mut took) = (None, Vec::new());
    for Captured { time, frame } in frames {
        let sliced = SlicedPacket::from_ethernet(frame)?;
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { continue };
        if tcp.payload().is_empty() {
            continue;
        }
        if tcp.source_port() == port {
            asked = asked.or(Some(*time));
        } else if tcp.destination_port() == port
            && let Some(asked) = asked.take()
        {
            took.push(*time - asked);
        }
    }
    ensure!(took.len() == 2, "{} answers to port {port} were captured", took.len());
    Ok(took)
}

/// Connections of one request each, in sequence; returns how many the first backend got.
fn first_of(lab: &Measured, vip: IpAddr, connections: u32, bytes: [u32; 2]) -> Result<u32> {
    let mut first = 0;
    for _ in 0..connections {
        let stream = lab.lab.client().connect_paced(vip)?;
        // First ask which server it is, then request that server's number of bytes.
        let server = ask_paced(&stream, 1, Duration::ZERO)?;
        ask_paced(&stream, bytes[usize::from(server) - 1], Duration::ZERO)?;
        first += u32::from(server == 1);
    }
    Ok(first)
}

#[test]
fn the_fastest_backend_gets_the_next_connection() -> Result<()> {
    undisturbed(STALL, || {
        let Some(lab) = start("rtt", "scheduler = \"rtt\"", &[40, 2])? else { return Ok(()) };
        for vip in VIPS {
            // Several at once: while the first connection of a second is in progress, the next goes to the other
            // backend, and both are measured.
            let firsts: Result<Vec<u32>> = std::thread::scope(|scope| {
                let ask = || first_of(&lab, vip, 60, [1, 1]);
                let clients = [(); 4].map(|()| scope.spawn(ask));
                clients.into_iter().map(|client| client.join().expect("no panic")).collect()
            });
            let first: u32 = firsts?.iter().sum();
            println!("{vip}: {first} of 240 to the slow one");
            ensure!((1..=60).contains(&first), "{first} of 240");
        }
        Ok(())
    })
}

#[test]
fn the_backend_that_sent_the_least_gets_the_next_connection() -> Result<()> {
    let Some(lab) = start("xmitbyte", "scheduler = \"xmitbyte\"", &[1, 1])? else { return Ok(()) };
    for vip in VIPS {
        // One answers with nine times as many bytes: bytes are level when it gets a tenth of the connections.
        let first = first_of(&lab, vip, 200, [10_000, 90_000])?;
        println!("{vip}: {first} of 200 to the frugal one");
        ensure!((150..=195).contains(&first), "{first} of 200");
    }
    Ok(())
}

#[test]
fn measuring_goes_on_without_a_controller_and_ends_when_nobody_asks_for_it() -> Result<()> {
    let Some(mut lab) = start("remeasure", "measure = true", &[0])? else { return Ok(()) };
    let vip = VIPS[0];
    let stream = lab.lab.client().connect_paced(vip)?;
    ask_paced(&stream, 10_000, Duration::ZERO)?;
    lab.daemon.kill();
    ask_paced(&stream, 20_000, Duration::ZERO)?;
    lab.daemon.start()?;
    lab.delivered(&stream, 30_000)?;
    let pins = || -> Result<usize> {
        let mut pins = 0;
        for namespace in std::fs::read_dir(lab.lab.pin_dir())? {
            let ways = namespace?.path().join("EXCHANGES_WAYS");
            pins += usize::from(ways.exists());
        }
        Ok(pins)
    };
    ensure!(pins()? == 1, "measuring takes memory");
    for vip in VIPS {
        lab.daemon.ok(&format!("service set {} --measure false", web(vip)))?;
    }
    ensure!(pins()? == 0, "the memory is given back");
    ensure!(lab.backend(vip)?["delivered_bytes"].is_null());
    ask_paced(&stream, 20_000, Duration::ZERO)?;
    // Nothing is invented for unmeasured time: the connection counts from when measuring resumed.
    lab.daemon.ok(&format!("service set {} --scheduler rtt", web(vip)))?;
    ask_paced(&stream, 50_000, Duration::ZERO)?;
    ask_paced(&stream, 50_000, Duration::ZERO)?;
    let connection = lab.connection(&stream)?;
    ensure!(connection["delivered_bytes"].is_null(), "{connection}");
    let mut counted = 0;
    eventually(Duration::from_secs(3), "bytes since then", || {
        counted = lab.backend(vip)?["delivered_bytes"].as_u64().context("delivered_bytes")?;
        Ok((50_000..=100_000).contains(&counted))
    })
    .with_context(|| format!("{counted} bytes"))
}
