//! A laboratory: network namespaces for clients, the dispatcher and backends, joined by a switch.
//!
//! ```text
//!  client-1 10.0.0.21      lb 10.0.0.1 (eth0)  10.0.1.1 (eth1)
//!      │                    │                    │
//!  ════╧════════╤═══════════╧═══ br0       br1 ══╧═══╤════     (switch: bridges, and a router between them:
//!               │                                    │          10.0.0.254, 10.0.1.254)
//!        web-1 10.0.0.11, web-2 …              far-1 10.0.1.11, …
//! ```
//!
//! IPv6 addresses: `fd00:0:0:0::/64` and `fd00:0:0:1::/64` with the same last numbers, whose decimal digits are written as
//! hexadecimal (`fd00::11`). Every backend has the VIPs, [`VIP4`] and [`VIP6`] (and one more of each), on its loopback.
//! Replies go straight from backend to client; those of `far` backends pass the switch's router.
//!
//! All names begin with a prefix that contains the process's number. Everything is removed when the [`Lab`] is dropped or the
//! process ends, however it ends: see `cleaner`. [`Lab::keep`] keeps it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};

mod cleaner;
pub mod cpus;
mod daemon;
mod echo;
mod flood;
mod frames;
mod ftp;
mod hop;
mod listen;
mod load;
mod mute;
mod node;
pub mod objects;
mod paced;
mod pair;
mod queueing;
mod servers;
mod slow;
mod stalls;
mod udp;
mod wait;
mod web;
pub mod xdp;

pub use daemon::{Daemon, Said, binary, sample};
pub use echo::{EchoServer, Established, Honest};
pub use flood::{Flood, SPOOFED_NET};
pub use frames::{Capture, Captured};
pub use load::{Answered, Load, percentile};
pub use mute::Mute;
pub use node::{Node, Process};
pub use paced::{Paced, ask_paced};
pub use pair::Pair;
pub use queueing::Queueing;
pub use servers::{EXPIRED, TLS_NAME};
pub use slow::SlowDownload;
pub use stalls::undisturbed;
pub use udp::{UdpEcho, udp_flows};
pub use wait::{eventually, until};
pub use web::{Tally, url};

/// The IPv4 VIP.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 80);
/// A second IPv4 VIP.
pub const OTHER_VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 81);
/// The IPv6 VIP.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x80);
/// A second IPv6 VIP.
pub const OTHER_VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x81);

/// The size of a laboratory.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Short name, part of the namespaces' names.
    pub name: String,
    /// Clients.
    pub clients: u8,
    /// Backends on the dispatcher's first NIC: `web-1`, `web-2`, …
    pub backends: u8,
    /// Backends on the dispatcher's second NIC: `far-1`, … Without any, there is no second NIC.
    pub far_backends: u8,
}

impl Plan {
    /// One client, three backends, one NIC.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), clients: 1, backends: 3, far_backends: 0 }
    }

    /// With this many backends on the first NIC.
    #[must_use]
    pub const fn backends(mut self, number: u8) -> Self {
        self.backends = number;
        self
    }

    /// With this many backends on a second NIC.
    #[must_use]
    pub const fn far_backends(mut self, number: u8) -> Self {
        self.far_backends = number;
        self
    }

    /// With this many clients.
    #[must_use]
    pub const fn clients(mut self, number: u8) -> Self {
        self.clients = number;
        self
    }
}

/// The namespaces, bridges and servers of a running laboratory.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
    /// The switch; it has no addresses except its router's.
    pub switch: Node,
    /// The dispatcher's host.
    pub lb: Node,
    /// Clients.
    pub clients: Vec<Node>,
    /// Backends on the first NIC, then those on the second.
    pub backends: Vec<Node>,
    // Last, so that the owners of nodes drop their processes before.
    cleaner: cleaner::Cleaner,
}

/// What a laboratory needs but this machine lacks, if anything.
#[must_use]
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let tools =
        ["ip", "nsenter", "ethtool", "nginx", "curl", "tcpdump", "strace", "vsftpd", "lftp"];
    missing_of(&tools)
}

/// What [`Node::serve_protocols`] needs but this machine lacks, if anything.
#[must_use]
pub fn missing_servers() -> Option<String> {
    missing_of(&["dovecot", "smtpd", "dnsmasq", "slapd", "kamailio", "snntpd", "openssl", "socat"])
}

fn missing_of(tools: &[&str]) -> Option<String> {
    let tool = tools.iter().find(|tool| !on_path(tool))?;
    Some(format!("{tool} is not installed (cargo xtask setup installs it)"))
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(tool).is_file())
}

impl Lab {
    /// Builds a laboratory. No server runs in it yet: see [`Lab::serve_web`] and [`Lab::serve_udp`].
    ///
    /// # Errors
    /// When a command fails; what was made is removed.
    pub fn new(plan: &Plan) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Some(missing) = missing() {
            anyhow::bail!("{missing}");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dt-{}-{}-{number}", plan.name, std::process::id());
        let directory = std::env::temp_dir().join(&prefix);
        let cleaner = cleaner::Cleaner::start(&prefix, &directory)?;
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let node =
            |name: String, net: u8, host: u8| Node::new(&prefix, &directory, &name, net, host);
        let lab = Self {
            switch: node("switch".to_owned(), 0, 254)?,
            lb: node("lb".to_owned(), 0, 1)?,
            clients: (1..=plan.clients)
                .map(|i| node(format!("client-{i}"), 0, 20 + i))
                .collect::<Result<_>>()?,
            backends: (1..=plan.backends)
                .map(|i| node(format!("web-{i}"), 0, 10 + i))
                .chain((1..=plan.far_backends).map(|i| node(format!("far-{i}"), 1, 10 + i)))
                .collect::<Result<_>>()?,
            prefix: prefix.clone(),
            directory: directory.clone(),
            cleaner,
        };
        lab.wire(plan.far_backends > 0)?;
        Ok(lab)
    }

    /// The directory of logs, configurations and documents.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// This laboratory's own directory on the bpffs, which is removed with it.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.prefix)
    }

    /// The first client.
    #[must_use]
    pub fn client(&self) -> &Node {
        &self.clients[0]
    }

    /// The node with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        [&self.switch, &self.lb]
            .into_iter()
            .chain(&self.clients)
            .chain(&self.backends)
            .find(|node| node.name() == name)
            .with_context(|| format!("node {name} is not in the laboratory"))
    }

    /// Keeps everything when the process ends: namespaces and servers stay. Returns the command that removes them.
    #[must_use]
    pub fn keep(self) -> String {
        self.cleaner.disarm()
    }

    /// Connects the nodes and gives them their addresses.
    fn wire(&self, second_nic: bool) -> Result<()> {
        for bridge in if second_nic { &["br0", "br1"][..] } else { &["br0"] } {
            self.switch.ip(&format!("link add {bridge} type bridge mcast_snooping 0"))?;
            self.switch.ip(&format!("link set {bridge} up"))?;
        }
        self.plug(&self.lb, "eth0", 0)?;
        for node in self.clients.iter().chain(&self.backends) {
            self.plug(node, "eth0", node.net())?;
            node.ip(&format!("route add default via {}", v4(node.net(), 254)))?;
            node.ip(&format!("-6 route add default via {}", v6(node.net(), 254)))?;
        }
        if second_nic {
            self.plug(&self.lb, "eth1", 1)?;
        }
        for net in 0..=u8::from(second_nic) {
            self.switch.ip(&format!("addr add {}/24 dev br{net}", v4(net, 254)))?;
            self.switch.ip(&format!("addr add {}/64 dev br{net} nodad", v6(net, 254)))?;
        }
        self.switch.sysctl("net.ipv4.ip_forward", "1")?;
        self.switch.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        for backend in &self.backends {
            for vip in [IpAddr::V4(VIP4), VIP6.into(), OTHER_VIP4.into(), OTHER_VIP6.into()] {
                backend.hold_vip(vip)?;
            }
        }
        Ok(())
    }

    /// Connects a node to a bridge by a new NIC, with the node's addresses in that network. Also restores a NIC that a test
    /// deleted.
    ///
    /// # Errors
    /// When a command fails.
    pub fn plug(&self, node: &Node, nic: &str, net: u8) -> Result<()> {
        let port = format!("{}.{nic}", node.name());
        let host = node.host();
        self.switch
            .ip(&format!("link add {port} type veth peer name {nic} netns {}", node.namespace()))?;
        node.ip(&format!("link set {nic} address {}", mac(net, host)))?;
        node.ip(&format!("addr add {}/24 dev {nic}", v4(net, host)))?;
        node.ip(&format!("addr add {}/64 dev {nic} nodad", v6(net, host)))?;
        if node.name() == self.lb.name() {
            // Frames that XDP sends arrive at the other end of a veth only if that end runs XDP, too. Nothing would do the
            // work that the other end leaves to "the hardware" (checksums, VLAN tags).
            xdp::pass(&self.switch, &port)?;
            self.switch
                .run(&format!("ethtool -K {port} tx off txvlan off tx-vlan-stag-hw-insert off"))?;
        } else if self.backends.iter().any(|backend| backend.name() == node.name()) {
            node.steer(nic)?;
        }
        self.switch.ip(&format!("link set {port} master br{net} up"))?;
        node.ip(&format!("link set {nic} up"))?;
        Ok(())
    }

    /// The port of the switch that leads to a node's NIC.
    #[must_use]
    pub fn port(&self, node: &Node, nic: &str) -> String {
        format!("{}.{nic}", node.name())
    }
}

/// The IPv4 address of a host in one of the two networks.
#[must_use]
pub const fn v4(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, net, host)
}

/// The IPv6 address of a host: the decimal digits of its number, read as hexadecimal.
#[must_use]
pub const fn v6(net: u8, host: u8) -> Ipv6Addr {
    let digits = (host / 100) as u16 * 0x100 + (host / 10 % 10) as u16 * 0x10 + (host % 10) as u16;
    Ipv6Addr::new(0xfd00, 0, 0, net as u16, 0, 0, 0, digits)
}

/// The MAC of a host's NIC.
#[must_use]
pub fn mac(net: u8, host: u8) -> String {
    format!("02:00:00:00:{net:02x}:{host:02x}")
}

/// Runs a command line to its end, and returns its output.
///
/// # Errors
/// When it cannot be run or fails; the message contains its error output.
pub fn run(line: &str) -> Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().context("empty command")?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {line}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line}: {}: {}", output.status, error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
