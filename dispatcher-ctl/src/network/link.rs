//! Which NICs there are: one link as the kernel reports it.

use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

use crate::model::Mac;

/// A NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The kernel's index.
    pub ifindex: u32,
    /// Its own MAC; all-zero where it has none.
    pub mac: Mac,
    /// Whether it is set up and its lower layer (cable, peer) is there.
    pub up: bool,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
}

impl Link {
    /// A link message's content; `None` for messages about something else than the link itself.
    ///
    /// Bridges report their ports with family `AF_BRIDGE`, and a port that leaves its bridge as `RTM_DELLINK`: those
    /// say nothing about the NIC.
    pub(crate) fn parse(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut link = Self {
            name: String::new(),
            ifindex: message.header.index,
            mac: Mac::default(),
            up: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            mtu: 0,
        };
        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                link.name.clone_from(name);
            } else if let LinkAttribute::Address(bytes) = attribute {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).map(Mac).unwrap_or_default();
            } else if let LinkAttribute::Mtu(mtu) = attribute {
                link.mtu = *mtu;
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}
