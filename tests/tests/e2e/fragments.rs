//! Datagrams that a client's kernel sends in fragments.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Lab, Plan};

use crate::common::{VIPS, address_of, all_up, backend, backend_metric, lab, noise, service};

const PORT: u16 = 5300;
/// Three fragments on a link with an MTU of 1,500.
const LENGTH: usize = 4000;
const FRAGMENTS: u32 = 3;

/// A socket on every backend, bound to the VIP.
fn servers(lab: &Lab, vip: IpAddr) -> Result<Vec<UdpSocket>> {
    let open = |node: &dispatcher_lab::Node| {
        node.enter(|| {
            let socket = UdpSocket::bind((vip, PORT)).context("bind")?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            Ok(socket)
        })
    };
    lab.backends.iter().map(open).collect()
}

/// What each server received.
fn received(servers: &[UdpSocket]) -> Vec<Vec<Vec<u8>>> {
    let all_of = |socket: &UdpSocket| {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 9000]);
        while let Ok(length) = socket.recv(&mut buffer) {
            all.push(buffer[..length].to_vec());
        }
        all
    };
    servers.iter().map(all_of).collect()
}

#[test]
fn a_fragmented_datagram_arrives_whole_at_one_backend() -> Result<()> {
    let Some(lab) = lab(&Plan::new("fragments").backends(2))? else { return Ok(()) };
    let mut text = String::new();
    for (name, vip) in ["big4", "big6"].into_iter().zip(VIPS) {
        text += &service(name, vip, PORT, "udp");
        for node in &lab.backends {
            text += &backend(node.name(), address_of(node, vip), 1);
        }
    }
    let mut daemon = lab.daemon(&text)?;
    daemon.start()?;
    all_up(&daemon)?;
    for (name, vip) in ["big4", "big6"].into_iter().zip(VIPS) {
        let servers = servers(&lab, vip)?;
        // Two flows, so one for each backend; each sends several datagrams, whose fragments mix.
        let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let clients: Vec<UdpSocket> = lab
            .client()
            .enter(|| Ok(vec![UdpSocket::bind((any, 0))?, UdpSocket::bind((any, 0))?]))?;
        let contents = noise(8 * LENGTH);
        let mut sent = [Vec::new(), Vec::new()];
        for (i, datagram) in contents.chunks(LENGTH).enumerate() {
            clients[i % 2].send_to(datagram, SocketAddr::new(vip, PORT))?;
            sent[i % 2].push(datagram.to_vec());
        }
        let got = received(&servers);
        ensure!(got == sent, "{vip}: {:?}", got.iter().map(Vec::len).collect::<Vec<_>>());
        for node in &lab.backends {
            let packets = backend_metric(&daemon, "packets_total", name, node.name())?;
            ensure!(packets == f64::from(4 * FRAGMENTS), "{name}: {packets} packets");
            let connections = backend_metric(&daemon, "connections_total", name, node.name())?;
            ensure!(connections == 1.0, "{name}: {connections} connections");
        }
    }
    Ok(())
}
