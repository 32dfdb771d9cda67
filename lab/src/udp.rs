//! UDP servers that answer with their name, and flows to them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Lab, Node, listen::Threads};

/// Servers on threads of this process; they end when this value is dropped.
#[derive(Debug)]
pub struct UdpEcho {
    _threads: Threads,
}

impl Lab {
    /// Starts a server on every backend for every given address (a VIP) and port. It answers each datagram with the backend's
    /// name.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn serve_udp(&self, addresses: &[SocketAddr]) -> Result<UdpEcho> {
        let mut threads = Threads::default();
        for backend in &self.backends {
            for address in addresses {
                let socket = backend.enter(|| UdpSocket::bind(address).context("bind"))?;
                socket.set_read_timeout(Some(Duration::from_millis(50)))?;
                let name = backend.name().to_owned();
                threads.spawn(move |stop| {
                    let mut buffer = [0; 2048];
                    while !stop.load(Ordering::Relaxed) {
                        if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                            // A client that is gone needs no answer.
                            let _ = socket.send_to(name.as_bytes(), client);
                        }
                    }
                });
            }
        }
        Ok(UdpEcho { _threads: threads })
    }
}

/// Sends datagrams of this many flows from a node, and counts which servers answered. Each flow has its own socket, so its own
/// port, and sends `packets` datagrams. Answers from different servers to one socket are counted as `error split`.
///
/// # Errors
/// When a socket cannot be opened.
pub fn udp_flows(
    node: &Node,
    to: SocketAddr,
    flows: u32,
    packets: u32,
) -> Result<BTreeMap<String, u32>> {
    node.enter(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let mut tally = BTreeMap::new();
        // Keep the sockets open: a port that is used again would be the same flow.
        let mut sockets = Vec::new();
        for _ in 0..flows {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut answers: Vec<String> = Vec::new();
            for _ in 0..packets {
                socket.send(b"who?")?;
                let mut buffer = [0; 64];
                answers.push(match socket.recv(&mut buffer) {
                    Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
                    Err(error) => format!("error {error}"),
                });
            }
            answers.dedup();
            let who = if answers.len() == 1 { answers.remove(0) } else { "error split".to_owned() };
            *tally.entry(who).or_default() += 1;
            sockets.push(socket);
        }
        Ok(tally)
    })
}
