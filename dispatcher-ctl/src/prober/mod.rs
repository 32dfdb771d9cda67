//! The prober: sends a probe of a VIP to one backend, whatever the scheduler does, and receives the answer.
//!
//! It is a network namespace of its own ([`namespace`]), known only to this process. A veth ([`wire`]) joins it to the
//! host's namespace. There, TC programs ([`crate::datapath::ProbePrograms`]) send its packets to the backend whose
//! slot the source port encodes ([`dispatcher_common::probe`]), and return the answers. The prober uses the host's own
//! address ([`source`]), so only L2 is rewritten, and backends answer as they answer any client. Routes, neighbours,
//! filters and connections of the host are not involved.

mod clsact;
mod expired;
mod namespace;
mod path;
mod source;
mod wire;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use dispatcher_common::probe;
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::Mac;

pub use clsact::remove_leftovers;
pub use expired::was_forwarded;
pub use path::{OpenError, Path};
pub use source::Surroundings;

/// A handle on the prober; clones share it. While there is no path to VIPs, it holds the reason.
#[derive(Clone, Debug)]
pub struct Prober(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: RwLock<Result<Arc<Path>, String>>,
    /// Number of probes of each slot.
    next_ports: Mutex<HashMap<u32, u16>>,
}

/// The backend whose VIP is probed, as part of a probe's target.
#[derive(Clone, Debug)]
pub struct Through {
    /// Its slot.
    pub slot: u32,
    /// Its own address, with the probed port.
    pub own: SocketAddr,
    /// Its MAC, if configured.
    pub mac: Option<Mac>,
    /// The prober that sends the probes.
    pub prober: Prober,
}

impl PartialEq for Through {
    fn eq(&self, other: &Self) -> bool {
        (self.slot, self.own, self.mac) == (other.slot, other.own, other.mac)
            && Arc::ptr_eq(&self.prober.0, &other.prober.0)
    }
}

impl Eq for Through {}

impl Hash for Through {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.slot, self.own, self.mac).hash(state);
    }
}

impl Default for Prober {
    fn default() -> Self {
        let path = RwLock::new(Err("probes of VIPs are not set up yet".to_owned()));
        Self(Arc::new(Shared { path, next_ports: Mutex::default() }))
    }
}

impl Prober {
    /// Opens the path, or closes it with a reason; returns the path that was open.
    pub fn set(&self, path: Result<Arc<Path>, String>) -> Option<Arc<Path>> {
        let mut held = self.0.path.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, path).ok()
    }

    fn path(&self) -> Result<Arc<Path>, String> {
        self.0.path.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next source port of a slot. The first is random, so that a new controller does not begin with the last port
    /// of the old one.
    fn port(&self, slot: u32) -> io::Result<u16> {
        let mut next_ports = self.0.next_ports.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next_ports.entry(slot).or_insert_with(|| {
            // The lower half; any value will do.
            getrandom::u32().unwrap_or_default() as u16
        });
        *turn = turn.wrapping_add(1);
        probe::port(slot, *turn)
            .ok_or_else(|| io::Error::other(format!("slot {slot} has no source port")))
    }
}

impl Through {
    /// Returns the path of a probe, if it can be sent at all; if not, its outcome would say nothing about the backend.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub async fn ready(&self, vip: IpAddr) -> Result<Arc<Path>, String> {
        let path = self.prober.path()?;
        path.carry(path.source(self.own.ip(), vip)?).await?;
        Ok(path)
    }

    /// Checks that a path is still the open one, and intact; if not, a failure on it says nothing about the backend.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn is_still(&self, path: &Arc<Path>) -> Result<(), String> {
        let now = self.prober.path()?;
        if !Arc::ptr_eq(&now, path) {
            return Err("the path for probes of VIPs was reopened meanwhile".to_owned());
        }
        path.is_whole().await
    }

    /// Opens a socket whose packets to the VIP go to this backend. It is bound and does not block. Also returns its
    /// port, or for a raw socket the echo identifier that it must use.
    ///
    /// # Errors
    /// See socket(2) and bind(2).
    pub async fn socket(
        &self,
        vip: IpAddr,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<(Socket, u16)> {
        let path = self.prober.path().map_err(io::Error::other)?;
        let source = path.source(self.own.ip(), vip).map_err(io::Error::other)?;
        let domain = if vip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = path.namespace.socket(domain, kind, protocol).await?;
        // A backend without the VIP that forwards would send the probe back to us, and we would balance it like a
        // client's packet.
        if vip.is_ipv4() {
            socket.set_ttl_v4(1)?;
        } else {
            socket.set_unicast_hops_v6(1)?;
        }
        if kind == Type::STREAM {
            expired::keep_reports(&socket, vip.is_ipv4())?;
            // A connection closed by RST leaves no state behind that would block the port.
            socket.set_linger(Some(std::time::Duration::ZERO))?;
            socket.set_reuse_address(true)?;
        }
        let port = self.bind(&socket, source, kind)?;
        Ok((socket, port))
    }

    /// Binds to the first free port of the slot. Raw sockets have none.
    fn bind(&self, socket: &Socket, source: IpAddr, kind: Type) -> io::Result<u16> {
        let mut left = probe::PORTS;
        loop {
            let port = self.prober.port(self.slot)?;
            let bound = if kind == Type::RAW { 0 } else { port };
            left -= 1;
            match socket.bind(&SocketAddr::new(source, bound).into()) {
                Ok(()) => return Ok(port),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && left > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_ports_are_used_in_turn() {
        let prober = Prober::default();
        let ports: Vec<_> = (0..4).map(|_| prober.port(9).unwrap()).collect();
        assert!(ports.iter().all(|port| probe::slot(*port) == Some(9)), "{ports:?}");
        assert_eq!(ports[0], ports[3]);
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[2] != ports[0]);
        prober.port(1 << 14).unwrap_err();
    }

    #[tokio::test]
    async fn without_a_way_it_says_why() {
        let through = Through {
            slot: 1,
            own: "10.0.0.11:80".parse().unwrap(),
            mac: None,
            prober: Prober::default(),
        };
        let vip = "10.0.0.80".parse().unwrap();
        assert_eq!(through.ready(vip).await.unwrap_err(), "probes of VIPs are not set up yet");
        through.prober.set(Err("no veth".to_owned()));
        assert_eq!(through.ready(vip).await.unwrap_err(), "no veth");
    }
}
