//! From which of this host's addresses is a VIP probed?
//!
//! From the one that the kernel would use towards the backend; where the backend's own address is of the other family, from
//! one of a served NIC's. Never from a VIP: the backend has it, too.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::ifaddrs::getifaddrs;

use crate::advisor::probe::reason;

/// What of this host matters to probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// All VIPs.
    pub vips: HashSet<IpAddr>,
    /// Names of the NICs behind which backends are.
    pub nics: BTreeSet<String>,
}

impl Surroundings {
    /// The address from which this backend's VIP is probed.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn source(&self, backend: IpAddr, vip: IpAddr) -> Result<IpAddr, String> {
        let kernels = match towards(backend) {
            _ if backend.is_ipv4() != vip.is_ipv4() => None,
            Ok(address) => Some(address),
            // Not for want of a route.
            Err(error) if lacks(&error) => return Err(reason(&error)),
            Err(_) => None,
        };
        let found = kernels.filter(|address| self.is_usable(*address));
        found.or_else(|| self.of_nics(vip.is_ipv4())).ok_or_else(|| {
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{vip} cannot be probed: this host has no {family} address towards {backend}")
        })
    }

    /// The first address of a family that a served NIC has.
    fn of_nics(&self, is_v4: bool) -> Option<IpAddr> {
        let ours = getifaddrs().ok()?.filter(|entry| self.nics.contains(&entry.interface_name));
        let mut addresses = ours.filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        addresses.find(|address| address.is_ipv4() == is_v4 && self.is_usable(*address))
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        let is_special = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
        };
        !is_special && !self.vips.contains(&address)
    }
}

/// The address that the kernel would send from. No packet is sent.
fn towards(backend: IpAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match backend {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Any port will do.
    socket.connect((backend, 9))?;
    socket.local_addr().map(|address| address.ip())
}

/// Whether it is descriptors or memory that this host lacks.
fn lacks(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    matches!(number, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_vips_are_no_sources() {
        let vip: IpAddr = "192.0.2.80".parse().unwrap();
        let around = Surroundings { vips: HashSet::from([vip]), ..Surroundings::default() };
        assert!(around.is_usable("192.0.2.1".parse().unwrap()));
        for address in ["192.0.2.80", "127.0.0.1", "0.0.0.0", "::1", "fe80::1", "::"] {
            assert!(!around.is_usable(address.parse().unwrap()), "{address}");
        }
        // The way to a loopback address is from it.
        let error = around.source("127.0.0.1".parse().unwrap(), vip).unwrap_err();
        assert!(error.starts_with("192.0.2.80 cannot be probed: this host has no IPv4"), "{error}");
    }
}
