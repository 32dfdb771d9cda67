//! This host's own addresses: one set, maintained by the resolver and read by everyone.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink's enums are long and growing")]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

/// An address of this host, on a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeldAddress {
    /// The kernel's index of the NIC.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Whether duplicate detection found it on another host (IPv6), so that this host does not use it.
    pub is_duplicate: bool,
}

impl HeldAddress {
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
    /// A copy of the set.
    pub(super) fn all(&self) -> BTreeSet<IpAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds addresses; returns whether one was new.
    pub(super) fn add(&self, addresses: impl IntoIterator<Item = IpAddr>) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.extend(addresses);
        all.len() != before
    }

    /// Replaces the set; returns whether it changed.
    pub(super) fn replace(&self, addresses: BTreeSet<IpAddr>) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let differs = *all != addresses;
        *all = addresses;
        differs
    }
}

/// The addresses that a message adds to this host: the address itself, and its network's broadcast address.
pub(super) fn parse(message: &AddressMessage) -> Vec<IpAddr> {
    let (mut local, mut address, mut broadcast) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            // On a point-to-point link this is the peer's address, and the local one is separate.
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(IpAddr::V4(*ip)),
            _ => {}
        }
    }
    local.or(address).into_iter().chain(broadcast).collect()
}
