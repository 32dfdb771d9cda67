//! The kernel's own ways of sending frames back: IPVS in direct routing, and a rule of traffic control.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use dispatcher_lab::Node;
use dispatcher_tests::datapath::VIP;

use crate::worlds::PORT;

/// The counters of a taker at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Packets taken; only for takers where something else could have sent the packets back.
    pub(super) packets: Option<u64>,
    /// Connections opened.
    pub(super) connections: u64,
}

/// Address of the first backend; all are in the NIC's network.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);

/// Switches GRO off, which only costs here: it cannot merge frames of many interleaved flows.
///
/// # Errors
/// When a command fails.
pub fn prepare(host: &Node) -> Result<()> {
    host.run("ethtool --features eth0 gro off")?;
    Ok(())
}

/// Makes IPVS serve the VIP with this many backends of equal weight. They have the same MACs as the datapath's backends.
///
/// # Errors
/// When a command fails, for example because the module `ip_vs` is missing.
pub fn serve(host: &Node, backends: u16) -> Result<()> {
    for (key, value) in [("eth0.rp_filter", "0"), ("eth0.send_redirects", "0")] {
        host.sysctl(&format!("net.ipv4.conf.{key}"), value)?;
    }
    host.ip(&format!("addr replace {VIP}/32 dev lo"))?;
    let hint = "hint: cargo xtask bench --ipvs boots a kernel that has the module ip_vs";
    host.run("ipvsadm --clear").context(hint)?;
    let service = format!("{VIP}:{PORT}");
    host.run(&format!("ipvsadm --add-service --tcp-service {service} --scheduler wrr"))?;
    for number in 0..backends {
        let address = Ipv4Addr::from(u32::from(FIRST) + u32::from(number));
        let [high, low] = number.to_be_bytes();
        let mac = format!("02:00:00:be:{high:02x}:{low:02x}");
        host.ip(&format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent"))?;
        host.run(&format!(
            "ipvsadm --add-server --tcp-service {service} --real-server {address} --gatewaying --weight 1"
        ))?;
    }
    Ok(())
}

/// The counters of IPVS now.
pub(super) fn seen(host: &Node) -> Result<Seen> {
    // The file without "percpu" is up to two seconds old.
    let text = host.run("cat /proc/net/ip_vs_stats_percpu")?;
    let mut sums = (0, 0);
    // In hexadecimal: the CPU, connections, packets in and out, bytes in and out. Other lines are headings, begin with "~", or
    // hold five rates.
    for line in text.lines() {
        let words: Result<Vec<u64>, _> =
            line.split_whitespace().map(|word| u64::from_str_radix(word, 16)).collect();
        if let Ok([_, connections, packets, _, _, _]) = words.as_deref() {
            sums = (sums.0 + packets, sums.1 + connections);
        }
    }
    Ok(Seen { packets: Some(sums.0), connections: sums.1 })
}

/// Makes traffic control send every frame back unchanged, or stops that.
///
/// # Errors
/// When a command fails.
pub fn mirror(host: &Node, wanted: bool) -> Result<()> {
    let is_there = host.run("tc qdisc show dev eth0 ingress")?.contains("ingress");
    if wanted && !is_there {
        host.run("tc qdisc add dev eth0 ingress")?;
        host.run(
            "tc filter add dev eth0 parent ffff: protocol ip matchall action mirred egress redirect dev eth0",
        )?;
    } else if !wanted && is_there {
        host.run("tc qdisc del dev eth0 ingress")?;
    }
    Ok(())
}
