//! Chooses the host's address from which a VIP is probed.
//!
//! It is the one that the kernel would use towards the backend; if the backend's own address is of the other family,
//! one of a served NIC. It is never a VIP: the backend has that address, too.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::ifaddrs::getifaddrs;

use crate::fault::reason;

/// What probes must know about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// All VIPs.
    pub vips: HashSet<IpAddr>,
    /// Names of the NICs that lead to backends.
    pub nics: BTreeSet<String>,
}

impl Surroundings {
    /// The source address for probes of this backend's VIP.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn source(&self, backend: IpAddr, vip: IpAddr) -> Result<IpAddr, String> {
        let kernels = match towards(backend) {
            _ if backend.is_ipv4() != vip.is_ipv4() => None,
            Ok(address) => Some(address),
            // An error of this host, other than a missing route.
            Err(error) if lacks_resources(&error) => return Err(reason(&error)),
            Err(_) => None,
        };
        let found = kernels.filter(|address| self.is_usable(*address));
        found.or_else(|| self.of_nics(vip.is_ipv4())).ok_or_else(|| {
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{vip} cannot be probed: this host has no {family} address towards {backend}")
        })
    }

    /// The first usable address of a family on a served NIC.
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

/// The source address that the kernel would choose. No packet is sent.
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

/// Whether this host is out of descriptors or memory.
fn lacks_resources(error: &io::Error) -> bool {
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
        // The source address towards a loopback address is a loopback address.
        let error = around.source("127.0.0.1".parse().unwrap(), vip).unwrap_err();
        assert!(error.starts_with("192.0.2.80 cannot be probed: this host has no IPv4"), "{error}");
    }
}
