//! Which addresses are this host's own: one set, kept by the resolver and read by everybody.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink's enums are long, and grow")]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

/// An address of this host, on a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The kernel's index of the NIC.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Whether another host was found to have it (IPv6), and this one does not use it.
    pub is_duplicate: bool,
}

impl Held {
    pub(super) fn parse(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut address) = (None, None);
        let mut is_duplicate = false;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(flags) => {
                    is_duplicate = flags.contains(AddressFlags::Dadfailed);
                }
                _ => {}
            }
        }
        let address = local.or(address)?;
        Some(Self { ifindex: message.header.index, address, is_duplicate })
    }
}

/// The set; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnAddresses(Arc<RwLock<BTreeSet<IpAddr>>>);

impl OwnAddresses {
    /// A copy of it.
    pub(super) fn all(&self) -> BTreeSet<IpAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds addresses; says whether one was new.
    pub(super) fn add(&self, addresses: impl IntoIterator<Item = IpAddr>) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.extend(addresses);
        all.len() != before
    }

    /// Replaces the set; says whether it was another.
    pub(super) fn replace(&self, addresses: BTreeSet<IpAddr>) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let differs = *all != addresses;
        *all = addresses;
        differs
    }
}

/// The addresses that a message makes this host's: its own, and its network's broadcast address.
pub(super) fn parse(message: &AddressMessage) -> Vec<IpAddr> {
    let (mut local, mut address, mut broadcast) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            // Of a point-to-point link the other end, where there is a local one, too.
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(IpAddr::V4(*ip)),
            _ => {}
        }
    }
    local.or(address).into_iter().chain(broadcast).collect()
}
