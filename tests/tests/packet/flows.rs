//! The packets that most cases send, of either family, against [`World::standard`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use dispatcher_tests::{
    case::Case,
    datapath::{CLIENT, CLIENT6, Datapath, VIP, VIP6, World},
    packet_builder::{NIC_MAC, PacketBuilder, ROUTER_MAC, eth},
};

/// Clears flags of a backend of the standard world.
pub(crate) fn without(datapath: &mut Datapath, slot: u16, flags: u8) -> Result<()> {
    let backend = World::standard().backends.into_iter().find(|b| b.slot == slot);
    let mut backend = backend.with_context(|| format!("no slot {slot}"))?;
    backend.flags &= !flags;
    datapath.set_backend(&backend)
}

/// An address family, with client, VIP and services of [`World::standard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The same cases for both families.
    pub(crate) fn both(cases: impl Fn(Self) -> Vec<Case>) -> Vec<Case> {
        [Self::V4, Self::V6].into_iter().flat_map(cases).collect()
    }

    /// A case of this family in the standard world.
    pub(crate) fn case(self, name: &str) -> Case {
        self.case_in(World::standard(), name)
    }

    /// A case of this family.
    pub(crate) fn case_in(self, world: World, name: &str) -> Case {
        Case::new(format!("{name} ({self:?})"), world)
    }

    /// An IP header from the client to the VIP.
    pub(crate) fn ip(self) -> PacketBuilder {
        self.on(eth())
    }

    /// An IP header from the client to the VIP, in this frame.
    pub(crate) fn on(self, frame: PacketBuilder) -> PacketBuilder {
        match self {
            Self::V4 => frame.ipv4(CLIENT, VIP),
            Self::V6 => frame.ipv6(CLIENT6, VIP6),
        }
    }

    /// An IP header from the client to a host other than the VIP.
    pub(crate) fn to_stranger(self) -> PacketBuilder {
        match self {
            Self::V4 => eth().ipv4(CLIENT, Ipv4Addr::new(192, 0, 2, 81)),
            Self::V6 => eth().ipv6(CLIENT6, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x81)),
        }
    }

    /// A TCP segment from this client port to the VIP's port 80.
    pub(crate) fn tcp(self, port: u16, flags: u8) -> PacketBuilder {
        self.ip().tcp(port, 80, flags)
    }

    /// A UDP datagram from this client port to the VIP's port 53.
    pub(crate) fn udp(self, port: u16) -> PacketBuilder {
        self.ip().udp(port, 53).payload(b"query")
    }

    /// IP from the VIP to the client, in a frame back to the router: the header of an answer.
    pub(crate) fn reply(self) -> PacketBuilder {
        self.reply_in(eth())
    }

    /// The same, in this frame.
    pub(crate) fn reply_in(self, frame: PacketBuilder) -> PacketBuilder {
        let frame = frame.to(ROUTER_MAC).from(NIC_MAC);
        match self {
            Self::V4 => frame.ipv4(VIP, CLIENT).id(0).dont_fragment(),
            Self::V6 => frame.ipv6(VIP6, CLIENT6),
        }
    }

    /// The VIP.
    pub(crate) fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP.into(),
            Self::V6 => VIP6.into(),
        }
    }

    /// The TCP service.
    pub(crate) fn web(self) -> u32 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// The UDP service.
    pub(crate) fn dns(self) -> u32 {
        self.web() + 2
    }

    /// The slot of the TCP service's n-th backend.
    pub(crate) fn web_slot(self, n: u16) -> u16 {
        self.web() as u16 * 10 + n
    }

    /// The slot of the UDP service's n-th backend.
    pub(crate) fn dns_slot(self, n: u16) -> u16 {
        self.dns() as u16 * 10 + n
    }
}
