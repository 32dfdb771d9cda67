//! A client behind a hop whose MTU is smaller than that of all other links.
//!
//! ```text
//!  switch's router ──── MTU 1,400 ──── hop ──── MTU 1,500 ──── remote
//!     10.0.8.254               10.0.8.1  10.0.9.254           10.0.9.21
//! ```
//!
//! Neither end can see the small MTU: the client announces segments for 1,500 bytes, and the router must tell the server.

use anyhow::Result;

use super::{Lab, Node, v4, v6};

/// Network of the narrow hop.
const NARROW: u8 = 8;
/// Network behind the narrow hop.
const BEHIND: u8 = 9;

impl Lab {
    /// Adds the hop, with this MTU in bytes, and returns hop and client. Keep both.
    ///
    /// # Errors
    /// When a command fails.
    pub fn narrow_hop(&self, mtu: u32) -> Result<(Node, Node)> {
        let node = |name, net, host| Node::new(&self.prefix, &self.directory, name, net, host);
        let (hop, remote) = (node("hop", NARROW, 1)?, node("remote", BEHIND, 21)?);
        let (hop_ns, remote_ns) = (hop.namespace(), remote.namespace());
        self.switch.ip(&format!("link add hop type veth peer name eth0 netns {hop_ns}"))?;
        hop.ip(&format!("link add eth1 type veth peer name eth0 netns {remote_ns}"))?;
        for (node, nic, net, host, mtu) in [
            (&self.switch, "hop", NARROW, 254, mtu),
            (&hop, "eth0", NARROW, 1, mtu),
            (&hop, "eth1", BEHIND, 254, 1500),
            (&remote, "eth0", BEHIND, 21, 1500),
        ] {
            node.ip(&format!("link set {nic} mtu {mtu}"))?;
            node.ip(&format!("addr add {}/24 dev {nic}", v4(net, host)))?;
            node.ip(&format!("addr add {}/64 dev {nic} nodad", v6(net, host)))?;
            node.ip(&format!("link set {nic} up"))?;
        }
        hop.sysctl("net.ipv4.ip_forward", "1")?;
        hop.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.switch.ip(&format!("route add {}/24 via {}", v4(BEHIND, 0), v4(NARROW, 1)))?;
        self.switch.ip(&format!("-6 route add {}/64 via {}", v6(BEHIND, 0), v6(NARROW, 1)))?;
        for (node, net) in [(&hop, NARROW), (&remote, BEHIND)] {
            node.ip(&format!("route add default via {}", v4(net, 254)))?;
            node.ip(&format!("-6 route add default via {}", v6(net, 254)))?;
        }
        Ok((hop, remote))
    }
}
