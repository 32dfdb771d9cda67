//! Builds packets byte by byte.
//!
//! A frame is built from the outside in: `eth().vlan(7).ipv4(client, vip).tcp(40_000, 80, SYN).payload(b"x").build()`.
//! Lengths and checksums are correct by default; [`PacketBuilder::patch`] and [`PacketBuilder::cut`] then break what a case
//! needs broken. The builder shares no code with the datapath's parser or the model's: this is intended.

use std::net::{Ipv4Addr, Ipv6Addr};

mod bytes;
pub mod checksum;

/// Ethernet address in transmission order.
pub type Mac = [u8; 6];

/// MAC of the router through which clients' packets arrive.
pub const ROUTER_MAC: Mac = [0x02, 0, 0, 0, 0xaa, 0x01];
/// MAC of the dispatcher's NIC.
pub const NIC_MAC: Mac = [0x02, 0, 0, 0, 0xdd, 0x01];

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag PSH.
pub const PSH: u8 = 0x08;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// Protocol numbers for IPv4's protocol and IPv6's next-header field.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: no next header.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The header from which an offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The Ethernet header.
    L2,
    /// The (outer) IP header.
    L3,
    /// The header after IP and its options or extension headers.
    L4,
}

/// A frame being built.
#[derive(Clone, Debug)]
pub struct PacketBuilder {
    destination: Mac,
    source: Mac,
    tags: Vec<(u16, u16)>,
    network: Network,
    tos: u8,
    transport: Transport,
    payload: Vec<u8>,
    patches: Vec<(At, usize, Vec<u8>)>,
    length: Option<usize>,
}

/// A finished frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// Where the IP header starts.
    pub l3: usize,
    /// Where the transport header starts.
    pub l4: usize,
}

#[derive(Clone, Debug)]
enum Network {
    None { ethertype: u16 },
    V4 { source: Ipv4Addr, destination: Ipv4Addr, options: Vec<u8>, id: u16, fragment: u16 },
    V6 { source: Ipv6Addr, destination: Ipv6Addr, extensions: Vec<(u8, Vec<u8>)> },
}

#[derive(Clone, Debug)]
enum Transport {
    None { protocol: u8 },
    Tcp { ports: (u16, u16), flags: u8, numbers: (u32, u32), window: u16, options: Vec<u8> },
    Udp { ports: (u16, u16) },
    Echo,
    Icmp { kind: u8, code: u8, rest: u32 },
}

/// A frame from the router to the dispatcher's NIC.
#[must_use]
pub fn eth() -> PacketBuilder {
    PacketBuilder {
        destination: NIC_MAC,
        source: ROUTER_MAC,
        tags: Vec::new(),
        network: Network::None { ethertype: 0x88b5 },
        tos: 0,
        transport: Transport::None { protocol: protocol::NO_NEXT },
        payload: Vec::new(),
        patches: Vec::new(),
        length: None,
    }
}

impl PacketBuilder {
    /// Sent to another MAC than the NIC's.
    #[must_use]
    pub fn to(mut self, destination: Mac) -> Self {
        self.destination = destination;
        self
    }

    /// Sent from another MAC than the router's.
    #[must_use]
    pub const fn from(mut self, source: Mac) -> Self {
        self.source = source;
        self
    }

    /// With one more (inner) 802.1Q tag.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// With one more (inner) tag of this EtherType.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, control: u16) -> Self {
        self.tags.push((ethertype, control));
        self
    }

    /// Neither IPv4 nor IPv6; the payload follows the EtherType.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.network = Network::None { ethertype };
        self
    }

    /// With an IPv4 header.
    #[must_use]
    pub fn ipv4(mut self, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        self.network =
            Network::V4 { source, destination, options: Vec::new(), id: 0x1234, fragment: 0 };
        self
    }

    /// With these IPv4 options; filled up to a multiple of four with end-of-list bytes.
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        if let Network::V4 { options, .. } = &mut self.network {
            options.extend_from_slice(bytes);
            options.resize(options.len().next_multiple_of(4), 0);
        }
        self
    }

    /// With this TOS (IPv6: traffic class).
    #[must_use]
    pub fn tos(mut self, value: u8) -> Self {
        self.tos = value;
        self
    }

    /// As a fragment: offset in units of 8 bytes, and whether more follow. IPv6: a fragment header.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        match &mut self.network {
            Network::V4 { fragment, .. } => *fragment = offset | u16::from(more) << 13,
            Network::V6 { extensions, .. } => {
                let word = (offset << 3 | u16::from(more)).to_be_bytes();
                extensions.push((protocol::FRAGMENT, vec![0, 0, word[0], word[1], 0, 0, 0, 9]));
            }
            Network::None { .. } => {}
        }
        self
    }

    /// With fragmentation forbidden (as always in IPv6).
    #[must_use]
    pub const fn dont_fragment(mut self) -> Self {
        if let Network::V4 { fragment, .. } = &mut self.network {
            *fragment |= 1 << 14;
        }
        self
    }

    /// With this identification (IPv6: in the last extension header, which is a fragment header).
    #[must_use]
    pub fn id(mut self, number: u16) -> Self {
        match &mut self.network {
            Network::V4 { id, .. } => *id = number,
            Network::V6 { extensions, .. } => {
                if let Some((protocol::FRAGMENT, bytes)) = extensions.last_mut() {
                    bytes[6..].copy_from_slice(&number.to_be_bytes());
                }
            }
            Network::None { .. } => {}
        }
        self
    }

    /// With an IPv6 header.
    #[must_use]
    pub fn ipv6(mut self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        self.network = Network::V6 { source, destination, extensions: Vec::new() };
        self
    }

    /// With one more extension header of this many bytes (a multiple of 8; for an authentication header, of 4).
    #[must_use]
    pub fn extension(mut self, kind: u8, length: usize) -> Self {
        if let Network::V6 { extensions, .. } = &mut self.network {
            let mut bytes = vec![0; length];
            bytes[1] = match kind {
                protocol::AUTHENTICATION => (length / 4 - 2) as u8,
                _ => (length / 8 - 1) as u8,
            };
            // Options: one PadN fills the rest of the header (RFC 8200 §4.2).
            bytes[2] = 1;
            bytes[3] = (length - 4).min(255) as u8;
            extensions.push((kind, bytes));
        }
        self
    }

    /// With a TCP header.
    #[must_use]
    pub fn tcp(mut self, source: u16, destination: u16, flags: u8) -> Self {
        let numbers = (0x1001, 0x2000 + u32::from(flags & ACK != 0));
        let (ports, options) = ((source, destination), Vec::new());
        self.transport = Transport::Tcp { ports, flags, numbers, window: 0xffff, options };
        self
    }

    /// With this sequence number, acknowledgement number and window.
    #[must_use]
    pub const fn tcp_numbers(mut self, sequence: u32, acknowledgement: u32, size: u16) -> Self {
        if let Transport::Tcp { numbers, window, .. } = &mut self.transport {
            (*numbers, *window) = ((sequence, acknowledgement), size);
        }
        self
    }

    /// With these TCP options; filled up to a multiple of four with end-of-list bytes.
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        if let Transport::Tcp { options, .. } = &mut self.transport {
            options.extend_from_slice(bytes);
            options.resize(options.len().next_multiple_of(4), 0);
        }
        self
    }

    /// With a UDP header.
    #[must_use]
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport = Transport::Udp { ports: (source, destination) };
        self
    }

    /// With an ICMP (IPv6: ICMPv6) echo request.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.transport = Transport::Echo;
        self
    }

    /// With an ICMP (IPv6: ICMPv6) message of this type and code; `rest` are the other four bytes of its header.
    #[must_use]
    pub fn icmp(mut self, kind: u8, code: u8, rest: u32) -> Self {
        self.transport = Transport::Icmp { kind, code, rest };
        self
    }

    /// With a packet as payload, from its IP header on, cut to at most this many bytes.
    #[must_use]
    pub fn quoting(self, packet: Self, length: usize) -> Self {
        let packet = packet.build();
        let quote = &packet.bytes[packet.l3..];
        self.payload(&quote[..length.min(quote.len())])
    }

    /// With a protocol after IP that this module does not know; the payload follows.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.transport = Transport::None { protocol };
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// Overwrites bytes of the finished frame; checksums are not corrected.
    #[must_use]
    pub fn patch(mut self, at: At, offset: usize, bytes: &[u8]) -> Self {
        self.patches.push((at, offset, bytes.to_vec()));
        self
    }

    /// Cuts the finished frame to this many bytes from the start of a header, or pads it with zeros.
    #[must_use]
    pub fn cut(mut self, at: At, length: usize) -> Self {
        let packet = self.clone().build();
        self.length = Some(packet.offset(at) + length);
        self
    }

    /// Whether its IP header is of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        matches!(self.network, Network::V4 { .. })
    }

    /// Whether it has a payload.
    #[must_use]
    pub const fn has_payload(&self) -> bool {
        !self.payload.is_empty()
    }

    /// The finished frame.
    #[must_use]
    pub fn build(self) -> Packet {
        let mut bytes = [self.destination, self.source].concat();
        for (ethertype, control) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        let transport = self.transport_bytes();
        let (ethertype, network) = self.network_bytes(transport.len());
        bytes.extend(ethertype.to_be_bytes());
        let l3 = bytes.len();
        let l4 = l3 + network.len();
        bytes.extend(network);
        bytes.extend(transport);
        let mut packet = Packet { bytes, l3, l4 };
        for (at, offset, patch) in &self.patches {
            let start = packet.offset(*at) + offset;
            packet.bytes[start..start + patch.len()].copy_from_slice(patch);
        }
        packet.bytes.resize(self.length.unwrap_or(packet.bytes.len()), 0);
        packet
    }
}

impl Packet {
    /// Where a header starts.
    #[must_use]
    pub const fn offset(&self, at: At) -> usize {
        match at {
            At::L2 => 0,
            At::L3 => self.l3,
            At::L4 => self.l4,
        }
    }
}

#[cfg(test)]
mod tests;
