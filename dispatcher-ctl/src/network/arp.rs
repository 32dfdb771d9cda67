//! Finds NICs that answer ARP requests for addresses on other NICs.
//!
//! By default Linux answers on every NIC for every address of the host (`arp_ignore` 0). If a second NIC is in the
//! VIP's segment, clients learn its MAC, and their packets bypass the datapath. IPv6 is not affected: a neighbour
//! solicitation is answered only on the NIC that has the address.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    net::{IpAddr, Ipv4Addr},
};

use super::{HeldAddress, Link};

/// The value with which a NIC answers only for its own addresses. It is enough: the VIP is on another NIC.
pub const OWN_ONLY: u32 = 1;

/// A NIC that would answer for VIPs on other NICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The kernel's index of the NIC.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The VIPs, in order; never empty.
    pub vips: Vec<Ipv4Addr>,
    /// The NIC that has the first of them.
    pub owner: String,
}

/// NICs that would answer for VIPs, if their settings allow it ([`answers`]). `served`: NICs with the datapath.
///
/// These are NICs that are up, use ARP, and have an IPv4 address or carry a served NIC (a macvlan's parent receives all
/// that the macvlan receives). A NIC with the MAC of a served NIC (a VLAN device, the bridge above it) gives the right
/// answer.
#[must_use]
pub fn answering(
    links: &[Link],
    held: &[HeldAddress],
    served: &BTreeSet<u32>,
    vips: &BTreeSet<Ipv4Addr>,
) -> Vec<Answering> {
    let is_served = |link: &&Link| served.contains(&link.ifindex);
    let macs: HashSet<_> = links.iter().filter(is_served).map(|link| link.mac).collect();
    let lower: HashSet<u32> = links.iter().filter(is_served).filter_map(|l| l.lower).collect();
    let mut addresses: BTreeMap<u32, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for held in held {
        if let IpAddr::V4(address) = held.address {
            addresses.entry(held.ifindex).or_default().insert(address);
        }
    }
    let here: BTreeSet<Ipv4Addr> = addresses.values().flatten().copied().collect();
    let mut found = Vec::new();
    for link in links.iter().filter(|link| !is_served(link)) {
        let own = addresses.get(&link.ifindex);
        let can = link.set_up && link.arp && !macs.contains(&link.mac);
        if !can || (own.is_none() && !lower.contains(&link.ifindex)) {
            continue;
        }
        let elsewhere =
            |vip: &&Ipv4Addr| here.contains(*vip) && own.is_none_or(|own| !own.contains(*vip));
        let vips: Vec<_> = vips.iter().filter(elsewhere).copied().collect();
        let Some(first) = vips.first() else { continue };
        let has_it =
            |owner: &&Link| addresses.get(&owner.ifindex).is_some_and(|own| own.contains(first));
        // Prefer a served NIC.
        let owner = links.iter().filter(has_it).max_by_key(|owner| is_served(owner));
        let owner = owner.map_or_else(String::new, |owner| owner.name.clone());
        found.push(Answering { ifindex: link.ifindex, name: link.name.clone(), vips, owner });
    }
    found
}

/// Whether a NIC's settings let it answer for addresses of other NICs. Settings that cannot be read count as no.
#[must_use]
pub fn answers(interface: &str) -> bool {
    let strongest = |key: &str| {
        let values = ["all", interface].map(|of| read(of, key));
        values.into_iter().flatten().max()
    };
    strongest("arp_ignore") == Some(0) && strongest("arp_filter") == Some(0)
}

/// The value of a NIC's own `arp_ignore`.
#[must_use]
pub fn arp_ignore(interface: &str) -> Option<u32> {
    read(interface, "arp_ignore")
}

/// Sets a NIC's own `arp_ignore`.
///
/// # Errors
/// See write(2).
pub fn set_arp_ignore(interface: &str, value: u32) -> io::Result<()> {
    fs::write(path(interface, "arp_ignore"), value.to_string())
}

/// The command that makes a NIC answer only for its own addresses.
#[must_use]
pub fn command(interface: &str) -> String {
    // sysctl(8) reads a dot as a separator.
    format!("sysctl -w net.ipv4.conf.{}.arp_ignore={OWN_ONLY}", interface.replace('.', "/"))
}

fn read(interface: &str, key: &str) -> Option<u32> {
    fs::read_to_string(path(interface, key)).ok()?.trim().parse().ok()
}

fn path(interface: &str, key: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;

    fn link(ifindex: u32, name: &str) -> Link {
        let mac = Mac([2, 0, 0, 0, 0, ifindex as u8]);
        Link {
            ifindex,
            name: name.into(),
            mac,
            set_up: true,
            up: true,
            arp: true,
            ..Link::default()
        }
    }

    fn held(ifindex: u32, address: &str) -> HeldAddress {
        HeldAddress { ifindex, address: address.parse().unwrap(), is_duplicate: false }
    }

    #[test]
    fn nics_with_addresses_and_parents_answer_and_others_do_not() {
        let eth0 = Link { lower: Some(9), ..link(2, "eth0") };
        let links = [
            Link { arp: false, ..link(1, "lo") },
            eth0.clone(),
            link(3, "eth1"),
            Link { set_up: false, ..link(4, "down") },
            link(5, "bare"),
            Link { mac: eth0.mac, ..link(6, "eth0.7") },
            link(7, "has-vip"),
            Link { arp: false, ..link(8, "noarp") },
            link(9, "parent"),
            link(10, "served"),
        ];
        let all = [
            held(1, "127.0.0.1"),
            held(2, "10.0.0.80"),
            held(3, "10.0.0.2"),
            held(4, "10.0.0.3"),
            held(5, "fe80::1"),
            held(6, "10.0.7.1"),
            held(7, "10.0.0.80"),
            held(8, "10.0.0.4"),
            held(10, "10.0.0.5"),
        ];
        let vips = ["10.0.0.80", "10.0.0.81"].map(|vip| vip.parse().unwrap()).into();
        let served = [2, 10].into();
        let found = answering(&links, &all, &served, &vips);
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["eth1", "parent"]);
        // Nobody answers for an address that this host does not have.
        assert_eq!(found[0].owner, "eth0");
        assert_eq!(found[0].vips, ["10.0.0.80".parse::<Ipv4Addr>().unwrap()]);
        assert!(answering(&links, &all[2..6], &served, &vips).is_empty());
    }

    #[test]
    fn dots_in_names_are_written_as_sysctl_wants_them() {
        assert_eq!(command("eth1"), "sysctl -w net.ipv4.conf.eth1.arp_ignore=1");
        assert_eq!(command("eth1.7"), "sysctl -w net.ipv4.conf.eth1/7.arp_ignore=1");
    }
}
