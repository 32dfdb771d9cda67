//! Reading frames as the specification says, byte by byte.

use std::net::IpAddr;

use dispatcher_common::limits::{MAX_IPV6_EXT_HEADERS, MAX_VLAN_TAGS};

use crate::packet_builder::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, TCP, UDP,
};

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Its length as its header says.
    pub bytes: u64,
    /// What it carries.
    pub contents: Contents,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A later part of a TCP segment or UDP datagram.
    Fragment(Identity),
    /// ICMP or ICMPv6, whole or in part.
    Icmp,
    /// A header is cut short or contradicts itself.
    Malformed,
    /// Something else.
    OtherProtocol,
    /// A TCP segment or UDP datagram, or its first part.
    Segment {
        /// TCP or UDP.
        protocol: u8,
        /// Source and destination port.
        ports: (u16, u16),
        /// TCP's flags; 0 for UDP.
        flags: u8,
        /// Set if it is only the first part.
        fragment: Option<Identity>,
    },
    /// More IPv6 extension headers than are walked.
    TooManyExtensions,
}

/// What the parts of a datagram have in common besides their addresses: identification and, in IPv4, protocol.
pub type Identity = (u32, u8);

/// The IP packet in a frame; none where there is no whole fixed IP header of the EtherType's version.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Datagram> {
    let mut at = 12;
    let mut tags = 0;
    while tags < MAX_VLAN_TAGS && matches!(number(frame, at)?, 0x8100 | 0x88a8) {
        at += 4;
        tags += 1;
    }
    let packet = frame.get(at + 2..)?;
    match (number(frame, at)?, packet.first()? >> 4) {
        (0x0800, 4) => ipv4(packet),
        (0x86dd, 6) => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Datagram> {
    let header = packet.get(..20)?;
    let address =
        |at: usize| IpAddr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap_or_default());
    let bytes = number(header, 2)?;
    Some(Datagram {
        source: address(12),
        destination: address(16),
        bytes: bytes.into(),
        contents: ipv4_contents(packet, bytes.into()).unwrap_or(Contents::Malformed),
    })
}

fn ipv4_contents(packet: &[u8], bytes: usize) -> Option<Contents> {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let payload = packet.get(..bytes)?.get(header..)?;
    if header < 20 {
        return None;
    }
    let fragment = number(packet, 6)? & 0x3fff;
    let identity = (u32::from(number(packet, 4)?), packet[9]);
    match packet[9] {
        ICMP => Some(Contents::Icmp),
        TCP | UDP if fragment & 0x1fff != 0 => Some(Contents::Fragment(identity)),
        protocol => transport(protocol, payload, (fragment != 0).then_some(identity)),
    }
}

fn ipv6(packet: &[u8]) -> Option<Datagram> {
    let header = packet.get(..40)?;
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap_or_default());
    let bytes = 40 + usize::from(number(header, 4)?);
    Some(Datagram {
        source: address(8),
        destination: address(24),
        bytes: bytes as u64,
        contents: ipv6_contents(packet, bytes).unwrap_or(Contents::Malformed),
    })
}

fn ipv6_contents(packet: &[u8], bytes: usize) -> Option<Contents> {
    let mut next = packet[6];
    let mut rest = packet.get(40..bytes)?;
    let mut walked = 0;
    let mut fragment = None;
    while is_extension(next) {
        if walked == MAX_IPV6_EXT_HEADERS {
            return Some(Contents::TooManyExtensions);
        }
        walked += 1;
        let kind = next;
        let length = match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
            _ => (usize::from(*rest.get(1)?) + 1) * 8,
        };
        let extension = rest.get(..length)?;
        next = extension[0];
        let place = if kind == FRAGMENT { number(extension, 2)? & 0xfff9 } else { 0 };
        if place != 0 {
            let id = u32::from(number(extension, 4)?) << 16 | u32::from(number(extension, 6)?);
            if fragment.replace((id, 0)).is_some() {
                return None;
            }
        }
        if place & 0xfff8 != 0 {
            return Some(match (next, fragment) {
                (ICMPV6, _) => Contents::Icmp,
                (TCP | UDP, Some(identity)) => Contents::Fragment(identity),
                (_, Some(identity)) if is_extension(next) => Contents::Fragment(identity),
                _ => Contents::OtherProtocol,
            });
        }
        rest = &rest[length..];
    }
    if next == ICMPV6 { Some(Contents::Icmp) } else { transport(next, rest, fragment) }
}

const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

fn transport(protocol: u8, payload: &[u8], fragment: Option<Identity>) -> Option<Contents> {
    let (least, length, flags) = match protocol {
        TCP => (20, usize::from(payload.get(12)? >> 4) * 4, *payload.get(13)?),
        // The first part of a datagram says how long all of it is.
        UDP if fragment.is_some() => (8, usize::from(number(payload, 4)?).clamp(0, 8), 0),
        UDP => (8, usize::from(number(payload, 4)?), 0),
        _ => return Some(Contents::OtherProtocol),
    };
    if length < least || length > payload.len() {
        return None;
    }
    let ports = (number(payload, 0)?, number(payload, 2)?);
    Some(Contents::Segment { protocol, ports, flags, fragment })
}

/// The 16-bit number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
