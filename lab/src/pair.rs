//! The smallest laboratory: two hosts connected by a veth, called `eth0` on both.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use super::{Node, cleaner::Cleaner, missing_of};

/// Two hosts; they are removed when this value is dropped or the process ends.
#[derive(Debug)]
pub struct Pair {
    /// The first host, 10.0.0.1.
    pub near: Node,
    /// The second host, 10.0.0.2.
    pub far: Node,
    // Last, so that the owners of nodes are dropped before.
    _cleaner: Cleaner,
}

impl Pair {
    /// Makes both hosts. They have no IPv6, which would send packets by itself.
    ///
    /// # Errors
    /// When a command fails; everything made so far is removed.
    pub fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        if let Some(missing) = missing_of(&["ip", "nsenter"]) {
            anyhow::bail!("{missing}");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dt-{name}-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&prefix);
        let cleaner = Cleaner::start(&prefix, &directory)?;
        let node = |name: &str, host: u8| Node::new(&prefix, &directory, name, 0, host);
        let (near, far) = (node("near", 1)?, node("far", 2)?);
        near.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.namespace()))?;
        for node in [&near, &far] {
            node.sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")?;
            node.ip(&format!("link set eth0 address {} up", node.mac()))?;
            node.ip(&format!("addr add {}/24 dev eth0", node.v4()))?;
        }
        Ok(Self { near, far, _cleaner: cleaner })
    }
}
