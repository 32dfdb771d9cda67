//! A server that accepts connections and datagrams, and never answers.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Result;

use super::{Node, listen::Threads};

/// A mute server; it listens until this value is dropped.
#[derive(Debug)]
pub struct Mute {
    _threads: Threads,
    _datagrams: UdpSocket,
}

impl Node {
    /// Starts one on a port, for TCP and UDP.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn serve_mute(&self, port: u16) -> Result<Mute> {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        let datagrams = self.enter(|| Ok(UdpSocket::bind(any)?))?;
        let mut threads = Threads::default();
        let mut taken = Vec::new();
        threads.listen(self, any, move |stream| taken.push(stream))?;
        Ok(Mute { _threads: threads, _datagrams: datagrams })
    }
}
