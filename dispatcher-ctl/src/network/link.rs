//! A NIC, as the kernel reports it.

use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkFlags, LinkMessage, Prop},
};

use crate::model::Mac;

/// A NIC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its alternative names.
    pub altnames: Vec<String>,
    /// The kernel's index.
    pub ifindex: u32,
    /// Its own MAC; all-zero if it has none.
    pub mac: Mac,
    /// Whether it is set up, whatever its lower layer does.
    pub set_up: bool,
    /// Whether it answers ARP: it is no loopback, and ARP is not disabled.
    pub arp: bool,
    /// ifindex of its lower NIC in this network namespace, for a VLAN device or macvlan.
    pub lower: Option<u32>,
    /// Whether it is set up and its lower layer (cable, peer) is up.
    pub up: bool,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
}

impl Link {
    /// A link message's content; `None` for messages about something else.
    ///
    /// Bridges report their ports with family `AF_BRIDGE`, and a port that leaves its bridge as `RTM_DELLINK`: those
    /// say nothing about the NIC.
    pub(crate) fn parse(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut link = Self {
            ifindex: message.header.index,
            set_up: flags.contains(LinkFlags::Up),
            arp: !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback),
            up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            ..Self::default()
        };
        let mut elsewhere = false;
        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                link.name.clone_from(name);
            } else if let LinkAttribute::Address(bytes) = attribute {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).map(Mac).unwrap_or_default();
            } else if let LinkAttribute::Mtu(mtu) = attribute {
                link.mtu = *mtu;
            } else if let LinkAttribute::Link(lower) = attribute {
                link.lower = Some(*lower);
            } else if matches!(attribute, LinkAttribute::LinkNetNsId(_)) {
                elsewhere = true;
            } else if let LinkAttribute::PropList(list) = attribute {
                for property in list {
                    if let Prop::AltIfName(name) = property {
                        link.altnames.push(name.clone());
                    }
                }
            }
        }
        // The index belongs to another namespace (a veth's peer, or a lower NIC there).
        link.lower = link.lower.filter(|_| !elsewhere);
        (!link.name.is_empty()).then_some(link)
    }

    /// Whether this is one of its names.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|alternative| alternative == name)
    }
}
