//! The path to VIPs while it is open: namespace, veth, addresses, and the map that directs answers.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

use dispatcher_common::{limits::PROBE_ADDRESSES, net::address};
use tokio::sync::Mutex;

use super::{
    clsact,
    namespace::Namespace,
    source::Surroundings,
    wire::{self, Wire},
};
use crate::{
    datapath::{DatapathError, ProbeEnds, is_attached},
    network::{NetworkError, extack},
};

/// Why VIPs cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The prober's namespace cannot be created.
    #[error("network namespace for probes of VIPs: cannot be made: {}{}", .0, namespace_hint(.0))]
    Namespace(io::Error),
    /// The veth cannot be created.
    #[error("veth for probes of VIPs: {}{}", .0, veth_hint(.0))]
    Veth(NetworkError),
    /// The programs cannot be loaded or attached.
    #[error("{0}")]
    Programs(#[from] DatapathError),
}

fn namespace_hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::EPERM) {
        "\nhint: give the daemon CAP_SYS_ADMIN, or set target = \"address\" in [service.advisor]"
    } else {
        ""
    }
}

fn veth_hint(error: &NetworkError) -> &'static str {
    match error.errno() {
        Some(libc::EOPNOTSUPP) => "\nhint: modprobe veth",
        Some(libc::EPERM) => "\nhint: give the daemon CAP_NET_ADMIN",
        _ => "",
    }
}

/// An open path to VIPs.
#[derive(Debug)]
pub struct Path {
    pub(super) namespace: Namespace,
    wire: Wire,
    /// A netlink connection to the host's namespace.
    host: rtnetlink::Handle,
    /// Programs that must be attached, by NIC.
    programs: RwLock<Vec<(String, u32)>>,
    surroundings: RwLock<Surroundings>,
    /// Addresses of the prober, and the map that lists them.
    ends: Mutex<(HashSet<IpAddr>, ProbeEnds)>,
}

impl Path {
    /// Creates namespace and veth, from the network namespace of the calling thread. `owner` distinguishes this
    /// controller from others there.
    ///
    /// # Errors
    /// As the kernel reports.
    pub async fn open(ends: ProbeEnds, mtu: u32, owner: &str) -> Result<Self, OpenError> {
        let namespace = Namespace::make().await.map_err(OpenError::Namespace)?;
        let host = extack::connect().map_err(NetworkError::Socket).map_err(OpenError::Veth)?;
        let fd = std::os::fd::AsFd::as_fd(&namespace);
        let wire = wire::join(&host, &namespace.netlink, fd, mtu, owner);
        let wire = wire.await.map_err(OpenError::Veth)?;
        let ends = Mutex::new((HashSet::new(), ends));
        let (programs, surroundings) = (RwLock::default(), RwLock::default());
        Ok(Self { namespace, wire, host, programs, surroundings, ends })
    }

    /// Name of the veth's end on the host.
    #[must_use]
    pub fn host_end(&self) -> &str {
        &self.wire.name
    }

    /// Sets which programs carry probes, by NIC.
    pub fn set_programs(&self, programs: Vec<(String, u32)>) {
        *self.programs.write().unwrap_or_else(PoisonError::into_inner) = programs;
    }

    /// Checks that the path is intact: the veth is up, and the programs are attached.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn is_whole(&self) -> Result<(), String> {
        wire::is_whole(&self.host, &self.wire).await?;
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (nic, program) in programs {
            let is_there = match is_attached(&nic, program) {
                Some(is) => is,
                None => clsact::has_filters(&self.host, &nic).await,
            };
            if !is_there {
                return Err(format!("the program for probes of VIPs is gone from {nic}"));
            }
        }
        Ok(())
    }

    /// Sets what the prober must know about the host.
    pub fn set_surroundings(&self, surroundings: Surroundings) {
        *self.surroundings.write().unwrap_or_else(PoisonError::into_inner) = surroundings;
    }

    /// Removes the veth; the namespace ends with the last socket in it.
    ///
    /// # Errors
    /// As netlink reports.
    pub async fn close(&self) -> Result<(), OpenError> {
        wire::remove(&self.host, self.wire.host).await.map_err(OpenError::Veth)
    }

    /// The source address for probes of this backend's VIP.
    pub(super) fn source(&self, backend: IpAddr, vip: IpAddr) -> Result<IpAddr, String> {
        let surroundings = self.surroundings.read().unwrap_or_else(PoisonError::into_inner);
        surroundings.source(backend, vip)
    }

    /// Gives the prober this address, and directs answers to it.
    pub(super) async fn carry(&self, source: IpAddr) -> Result<(), String> {
        let mut ends = self.ends.lock().await;
        let (known, map) = &mut *ends;
        if known.contains(&source) {
            return Ok(());
        }
        if known.len() == PROBE_ADDRESSES as usize {
            return Err(format!("VIPs are probed from {PROBE_ADDRESSES} addresses already"));
        }
        wire::add_address(&self.namespace.netlink, self.wire.prober, source)
            .await
            .map_err(|error| error.to_string())?;
        map.add(address(source), self.wire.end).map_err(|error| error.to_string())?;
        known.insert(source);
        Ok(())
    }
}
