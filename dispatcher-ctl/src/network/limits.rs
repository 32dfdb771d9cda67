//! Checks that the kernel's neighbour table has room for all backends.
//!
//! Above `gc_thresh3` neighbours the kernel creates no new ones, and backends stay without a MAC. All network
//! namespaces share the table; its limits are readable only in the initial one.

use std::{collections::BTreeSet, fs, net::IpAddr};

/// Addresses of a family that do not fit into the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Addresses of backends.
    pub addresses: usize,
    /// The limit.
    pub limit: usize,
}

impl Shortage {
    /// What is wrong, in one line.
    #[must_use]
    pub fn error(&self) -> String {
        let Self { family, addresses, limit } = self;
        format!(
            "{addresses} backend addresses are more than the kernel's neighbour table may hold: \
             net.{family}.neigh.default.gc_thresh3 is {limit}, expected {} or more",
            self.needed()
        )
    }

    /// The command that fixes it.
    #[must_use]
    pub fn hint(&self) -> String {
        let (family, needed) = (self.family, self.needed());
        let set = |n: u32, value: usize| format!("net.{family}.neigh.default.gc_thresh{n}={value}");
        format!("sysctl -w {} {} {}", set(3, needed), set(2, needed / 2), set(1, needed / 4))
    }

    /// Twice the number of backends: there are other neighbours, too.
    fn needed(&self) -> usize {
        (self.addresses * 2).next_power_of_two()
    }
}

/// Compares these addresses with this host's limits.
#[must_use]
pub fn shortages(addresses: &BTreeSet<IpAddr>) -> Vec<Shortage> {
    let limit = |family: &str| {
        let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    short(addresses, limit)
}

fn short(addresses: &BTreeSet<IpAddr>, limit: impl Fn(&str) -> Option<usize>) -> Vec<Shortage> {
    let of = |family, is_it: fn(&&IpAddr) -> bool| {
        let addresses = addresses.iter().filter(is_it).count();
        let limit = limit(family).filter(|limit| *limit < addresses)?;
        Some(Shortage { family, addresses, limit })
    };
    let families =
        [of("ipv4", |address| address.is_ipv4()), of("ipv6", |address| address.is_ipv6())];
    families.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_the_mend() {
        let four = (0..2000_u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)));
        let six = (0..1024_u16).map(|n| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n)));
        let addresses: BTreeSet<_> = four.chain(six).collect();
        let found = short(&addresses, |_| Some(1024));
        assert_eq!(found, [Shortage { family: "ipv4", addresses: 2000, limit: 1024 }]);
        assert_eq!(
            found[0].error(),
            "2000 backend addresses are more than the kernel's neighbour table may hold: \
             net.ipv4.neigh.default.gc_thresh3 is 1024, expected 4096 or more"
        );
        assert_eq!(
            found[0].hint(),
            "sysctl -w net.ipv4.neigh.default.gc_thresh3=4096 net.ipv4.neigh.default.gc_thresh2=2048 \
             net.ipv4.neigh.default.gc_thresh1=1024"
        );
        assert!(short(&addresses, |_| None).is_empty(), "what cannot be read is no shortage");
        assert_eq!(short(&addresses, |_| Some(1000)).len(), 2);
    }
}
