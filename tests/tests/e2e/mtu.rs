//! Path MTU discovery through a VIP: a router's error about a backend's packet is sent to the VIP, and must reach the
//! backend.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use dispatcher_lab::{Lab, Node, SlowDownload, url};

use crate::common::{VIPS, Web, noise, publish, web};

const MTU: u32 = 1400;

/// "Fragmentation needed" and "packet too big".
const FILTER: &str = "(icmp and icmp[0] = 3 and icmp[1] = 4) or (icmp6 and ip6[40] = 2)";

/// What a node's kernel knows about the path to another.
fn path(node: &Node, to: IpAddr) -> Result<String> {
    node.ip(&format!("route get {to}"))
}

/// The client's address of a VIP's family.
fn address(client: &Node, vip: IpAddr) -> IpAddr {
    crate::common::address_of(client, vip)
}

/// Downloads once, and checks which backend got the router's error.
fn download(lab: &Lab, client: &Node, vip: IpAddr, file: &[u8]) -> Result<()> {
    let captures =
        lab.backends.iter().map(|node| node.capture("eth0", FILTER)).collect::<Result<Vec<_>>>()?;
    let transfer: SlowDownload = client.slow_download(vip, "/files/big")?;
    let server = transfer.server().to_owned();
    ensure!(transfer.finish()? == file, "{vip}: the file from {server} differs");
    for (node, capture) in lab.backends.iter().zip(captures) {
        let errors = capture.stop()?.len();
        let path = path(node, address(client, vip))?;
        let is_told = path.contains(&format!("mtu {MTU}"));
        if node.name() == server {
            ensure!(errors > 0 && is_told, "{vip}: {server} got {errors} errors; {path}");
        } else {
            ensure!(errors == 0, "{vip}: {} got {errors} errors of {server}'s", node.name());
        }
    }
    Ok(())
}

#[test]
fn a_download_over_a_hop_with_a_small_mtu_completes_for_both_families() -> Result<()> {
    let Some(setup) = Web::start("mtu", &[1, 1])? else { return Ok(()) };
    let (lab, daemon) = (&setup.lab, &setup.daemon);
    let (_hop, client) = lab.narrow_hop(MTU)?;
    let file = noise(3_000_000);
    publish(lab, "big", &file)?;
    for vip in VIPS {
        // Neither knows about the narrow hop.
        for node in &lab.backends {
            let path = path(node, address(&client, vip))?;
            ensure!(!path.contains("mtu"), "{}: {path}", node.name());
        }
        // One backend, then the other.
        download(lab, &client, vip, &file)?;
        download(lab, &client, vip, &file)?;
        let status = client.download(&url(vip, "/files/big"), "again").status()?;
        ensure!(status.success(), "{vip}: {status}");
        for node in &lab.backends {
            let state = crate::common::backend_of(daemon, web(vip), node.name())?;
            ensure!(state["connections"].as_u64() >= Some(1), "{vip}: {state}");
        }
    }
    Ok(())
}
