//! Parses a packet's headers into words, and checks them against each other and the frame.
//!
//! It takes two steps, because the destination address decides first whether the packet concerns us: [`network`] finds the IP
//! header, then [`transport`] reads TCP or UDP.
//!
//! A frame is IP if its EtherType, behind at most two VLAN tags, says IPv4 or IPv6, the fixed header is there and its
//! version agrees; else it is [`Reason::NotIp`]. [`Reason::Malformed`] are: an IPv4 header length below 20 bytes; an IP
//! length below the header's or beyond the frame; an extension header or transport header beyond the IP length; a TCP
//! data offset below 20 bytes or beyond the IP length; a UDP length below 8 or beyond the IP length (of a first fragment:
//! below 8); a second fragment header. The receiver verifies checksums.

use dispatcher_common::{
    flow::{Flow, WORDS_V6},
    net::{Address, TCP},
    reason::Reason,
    shared::{Shared, cast, cast_ref},
};

use crate::frame::Frame;

mod contents;
mod ethernet;
mod icmp;
mod ipv4;
mod ipv6;
mod l4;
mod plain;

pub use contents::Contents;
pub use ethernet::{IPV4, IPV6};
pub use icmp::{is_error, quoted};
pub use l4::{ACK, FIN, RST, SYN, Segment, Tcp};
pub use plain::{Plain, PlainV4, PlainV6};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: u32 = 14;
/// Bytes of an IPv4 header without options (RFC 791 §3.1).
pub const IPV4_HEADER: u32 = 20;
/// Bytes of an IPv6 header (RFC 8200 §3).
pub const IPV6_HEADER: u32 = 40;
/// Bytes of a TCP header without options (RFC 9293 §3.1).
pub const TCP_HEADER: u32 = 20;
/// Bytes of a UDP header (RFC 768).
pub const UDP_HEADER: u32 = 8;
/// Bytes of an ICMP or ICMPv6 error before the packet that it quotes (RFC 792, RFC 4443).
pub const ICMP_HEADER: u32 = 8;
/// More-fragments bit and fragment offset of an IPv4 header, as they stand in the packet.
pub const IPV4_FRAGMENT: u16 = 0x3fff_u16.to_be();
/// The fragment offset alone.
pub const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
/// The don't-fragment bit.
pub const IPV4_DONT_FRAGMENT: u16 = 0x4000_u16.to_be();

/// The payload of an IP packet, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Payload {
    /// Bytes of the frame before it.
    offset: u32,
    /// Protocol number. For a later fragment it may be the number of the next IPv6 extension header.
    protocol: u8,
    /// Which part of it the packet has.
    contents: Contents,
}

/// The IP header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Bytes of the frame before it.
    pub offset: u32,
    /// Whether it is IPv4.
    pub is_v4: bool,
    /// TOS (IPv4) or traffic class (IPv6).
    pub tos: u8,
    /// L3 bytes, by the header.
    pub bytes: u32,
}

/// A flow as the native words of its bytes: the layout of [`Flow`], born at tick 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowWords {
    /// Client address.
    pub client: [u32; 4],
    /// Address the client sent to.
    pub vip: [u32; 4],
    /// Client port and VIP port.
    pub ports: u32,
    /// Protocol number.
    pub protocol: u32,
}

// SAFETY: `repr(C)`, and ten words without padding, as many bytes as a `Flow`: `cast` asserts that.
unsafe impl Shared for FlowWords {
    const ZERO: Self = Self { client: [0; 4], vip: [0; 4], ports: 0, protocol: 0 };
}

/// First twelve bytes of an IPv4 address in mapped form (RFC 4291 §2.5.5.2), as words.
pub const MAPPED: [u32; 3] = [0, 0, 0xffff_u32.to_be()];

/// The address whose bytes are those of four native words.
#[inline(always)]
#[must_use]
pub const fn address(words: [u32; 4]) -> Address {
    *cast_ref(&words)
}

impl FlowWords {
    /// An IPv4 flow.
    #[inline(always)]
    #[must_use]
    pub const fn v4(client: u32, vip: u32, ports: u32, protocol: u32) -> Self {
        let mut flow = Self { client: [0; 4], vip: [0; 4], ports, protocol };
        flow.set_v4(client, vip);
        flow
    }

    /// Sets two IPv4 addresses.
    #[inline(always)]
    pub const fn set_v4(&mut self, client: u32, vip: u32) {
        let [a, b, c] = MAPPED;
        self.client = [a, b, c, client];
        self.vip = [a, b, c, vip];
    }

    /// The VIP in the form of a map key.
    #[inline(always)]
    #[must_use]
    pub const fn vip(&self) -> Address {
        address(self.vip)
    }

    /// The client in the form of a map key.
    #[inline(always)]
    #[must_use]
    pub const fn client(&self) -> Address {
        address(self.client)
    }

    /// Whether the VIP is an IPv4 address in mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn has_mapped_vip(&self) -> bool {
        self.vip[0] | self.vip[1] | (self.vip[2] ^ MAPPED[2]) == 0
    }

    /// Whether services on any address never take packets to this VIP: it is loopback, link-local, multicast, broadcast,
    /// unspecified or reserved (RFC 6890).
    #[inline(always)]
    #[must_use]
    pub const fn is_special(&self) -> bool {
        let [a, b, c, d] = self.vip;
        if self.has_mapped_vip() {
            let d = u32::from_be(d);
            let first = d >> 24;
            first == 0 || first == 127 || first >= 224 || d >> 16 == 0xa9fe
        } else {
            let first = u32::from_be(a) >> 16;
            // The unspecified address and loopback are among the IPv4-compatible ones, which nobody uses (RFC 4291 §2.5.5.1).
            first >= 0xff00 || first & 0xffc0 == 0xfe80 || a | b | c == 0
        }
    }

    /// Whether the client is an IPv4 address in mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn has_mapped_client(&self) -> bool {
        self.client[0] | self.client[1] | (self.client[2] ^ MAPPED[2]) == 0
    }

    /// Whether the client's address names a single host, to which an error may be sent (RFC 1122 §3.2.2).
    #[inline(always)]
    #[must_use]
    pub const fn has_host_client(&self) -> bool {
        let [a, b, c, d] = self.client;
        if self.has_mapped_client() {
            let first = u32::from_be(d) >> 24;
            first != 0 && first != 127 && first < 224
        } else {
            // Neither multicast, nor unspecified, nor loopback.
            u32::from_be(a) >> 24 != 0xff && a | b | c != 0
        }
    }

    /// Whether a record belongs to this flow; its tick does not matter.
    #[inline(always)]
    #[must_use]
    pub fn is(&self, record: &Flow) -> bool {
        let other: Self = cast(*record);
        let differs = |a: [u32; 4], b: [u32; 4]| {
            (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])
        };
        differs(self.client, other.client)
            | differs(self.vip, other.vip)
            | (self.ports ^ other.ports)
            | ((self.protocol ^ other.protocol) & 0xff)
            == 0
    }

    /// All words in order.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; WORDS_V6] {
        let (c, v) = (self.client, self.vip);
        [c[0], c[1], c[2], c[3], v[0], v[1], v[2], v[3], self.ports, self.protocol]
    }

    /// The record of this flow, written at a tick.
    #[inline(always)]
    #[must_use]
    pub const fn record(&self, tick: u64) -> Flow {
        cast(Self { protocol: (tick as u32) << 8 | self.protocol & 0xff, ..*self })
    }
}

/// Finds the IP header, and sets the flow's addresses.
///
/// # Errors
/// [`Reason::NotIp`].
#[inline(always)]
pub fn network(frame: Frame, flow: &mut FlowWords) -> Result<Network, Reason> {
    let (offset, ethertype) = ethernet::payload(frame)?;
    match ethertype {
        IPV4 => ipv4::network(frame, offset, flow),
        IPV6 => ipv6::network(frame, offset, flow),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
fn payload(frame: Frame, network: Network) -> Result<Payload, Reason> {
    let end = network.offset + network.bytes;
    if end > frame.length() {
        return Err(Reason::Malformed);
    }
    if network.is_v4 {
        ipv4::payload(frame, network.offset, network.bytes)
    } else {
        ipv6::payload(frame, network.offset, end)
    }
}

/// Offset of the TCP header, if the packet has a whole segment.
#[inline(always)]
#[must_use]
pub fn segment(frame: Frame, network: Network) -> Option<u32> {
    match payload(frame, network) {
        Ok(Payload { offset, protocol: TCP, contents: Contents::WHOLE }) => Some(offset),
        _ => None,
    }
}

/// Whether a packet of TCP or UDP has ports: it is neither an ICMP message nor a later fragment.
#[inline(always)]
#[must_use]
pub fn has_ports(frame: Frame, network: Network) -> bool {
    payload(frame, network).is_ok_and(|payload| payload.contents.has_ports())
}

/// Finds the TCP or UDP header: sets the flow's ports and protocol, and returns the packet's contents and what TCP says. Later
/// fragments and ICMP messages have no ports.
///
/// # Errors
/// The reason for which a packet to a VIP leaves: [`Reason::Malformed`], [`Reason::OtherProtocol`],
/// [`Reason::ExtensionHeaders`]; [`Reason::Icmp`] for an ICMP message in fragments.
#[inline(always)]
pub fn transport(
    frame: Frame,
    network: Network,
    flow: &mut FlowWords,
) -> Result<(Contents, Tcp), Reason> {
    let end = network.offset + network.bytes;
    let Payload { offset, protocol, contents } = payload(frame, network)?;
    flow.protocol = u32::from(protocol);
    flow.ports = 0;
    if !contents.has_ports() {
        return Ok((contents, Tcp::default()));
    }
    let (ports, tcp) = l4::header(frame, offset, end, protocol, contents)?;
    flow.ports = ports;
    Ok((contents, tcp))
}
