//! Reads frames byte by byte as the specification says.

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
    /// TOS or traffic class.
    pub tos: u8,
    /// Its length according to its header.
    pub bytes: u64,
    /// Its contents.
    pub contents: Contents,
}

/// The contents of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A later fragment of a TCP segment or UDP datagram.
    Fragment(Identity),
    /// ICMP or ICMPv6, whole or in part; of an error, the quoted packet, if enough of it is there.
    Icmp(Option<Quote>),
    /// A header is truncated or contradicts itself.
    Malformed,
    /// Something else.
    OtherProtocol,
    /// A TCP segment or UDP datagram, or its first fragment.
    Segment {
        /// TCP or UDP.
        protocol: u8,
        /// Source and destination port.
        ports: (u16, u16),
        /// TCP's flags; 0 for UDP.
        flags: u8,
        /// Whether bytes follow the header; meaningless for UDP.
        has_payload: bool,
        /// Set if it is only the first fragment.
        fragment: Option<Identity>,
    },
    /// More IPv6 extension headers than the datapath walks.
    TooManyExtensions,
}

/// A packet that an ICMP error quotes: protocol, source and destination with their ports.
pub type Quote = (u8, (IpAddr, u16), (IpAddr, u16));

/// What the fragments of a datagram have in common besides their addresses: identification and, in IPv4, protocol.
pub type Identity = (u32, u8);

/// The IP packet in a frame; none if the frame lacks a whole fixed IP header of the EtherType's version.
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

/// The TCP segment in a frame and where the IP header is.
#[must_use]
pub fn segment(frame: &[u8]) -> Option<(usize, &[u8])> {
    let tags =
        (0..2).take_while(|tag| matches!(number(frame, 12 + 4 * tag), Some(0x8100 | 0x88a8)));
    let l3 = 14 + 4 * tags.count();
    let packet = frame.get(l3..)?;
    let carried = if packet.first()? >> 4 == 4 {
        ipv4_carried(packet, number(packet, 2)?.into())?
    } else {
        ipv6_carried(packet, 40 + usize::from(number(packet, 4)?))?.ok()?
    };
    (carried.protocol == TCP).then_some((l3, carried.payload))
}

fn ipv4(packet: &[u8]) -> Option<Datagram> {
    let (source, destination) = ipv4_addresses(packet)?;
    let bytes = number(packet, 2)?;
    let carried = ipv4_carried(packet, bytes.into()).map(Ok);
    let (tos, bytes, contents) = (packet[1], bytes.into(), contents(carried));
    Some(Datagram { source, destination, tos, bytes, contents })
}

fn ipv4_addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = packet.get(..20)?;
    let address =
        |at: usize| IpAddr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap_or_default());
    Some((address(12), address(16)))
}

fn ipv4_carried(packet: &[u8], bytes: usize) -> Option<Carried<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let payload = packet.get(..bytes)?.get(header..)?;
    if header < 20 {
        return None;
    }
    let (fragment, protocol) = (number(packet, 6)? & 0x3fff, packet[9]);
    let identity = (u32::from(number(packet, 4)?), protocol);
    Some(Carried {
        is_v4: true,
        protocol,
        payload,
        fragment: (fragment != 0).then_some(identity),
        is_later: fragment & 0x1fff != 0,
    })
}

fn ipv6(packet: &[u8]) -> Option<Datagram> {
    let (source, destination) = ipv6_addresses(packet)?;
    let bytes = 40 + usize::from(number(packet, 4)?);
    let contents = contents(ipv6_carried(packet, bytes));
    let tos = packet[0] << 4 | packet[1] >> 4;
    Some(Datagram { source, destination, tos, bytes: bytes as u64, contents })
}

fn ipv6_addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = packet.get(..40)?;
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap_or_default());
    Some((address(8), address(24)))
}

/// An error if there are more extension headers than the datapath walks.
fn ipv6_carried(packet: &[u8], bytes: usize) -> Option<Result<Carried<'_>, TooMany>> {
    let mut carried = Carried {
        is_v4: false,
        protocol: *packet.get(6)?,
        payload: packet.get(40..bytes)?,
        fragment: None,
        is_later: false,
    };
    let mut walked = 0;
    while is_extension(carried.protocol) && !carried.is_later {
        if walked == MAX_IPV6_EXT_HEADERS {
            return Some(Err(TooMany));
        }
        walked += 1;
        let (kind, rest) = (carried.protocol, carried.payload);
        let length = match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
            _ => (usize::from(*rest.get(1)?) + 1) * 8,
        };
        let extension = rest.get(..length)?;
        (carried.protocol, carried.payload) = (extension[0], &rest[length..]);
        let place = if kind == FRAGMENT { number(extension, 2)? & 0xfff9 } else { 0 };
        if place != 0 {
            let id = u32::from(number(extension, 4)?) << 16 | u32::from(number(extension, 6)?);
            if carried.fragment.replace((id, 0)).is_some() {
                return None;
            }
            carried.is_later = place & 0xfff8 != 0;
        }
    }
    Some(Ok(carried))
}

/// What follows an IP header and its extension headers.
struct Carried<'a> {
    is_v4: bool,
    protocol: u8,
    payload: &'a [u8],
    /// Set if it is only a fragment.
    fragment: Option<Identity>,
    /// Whether it is a later fragment.
    is_later: bool,
}

struct TooMany;

fn contents(carried: Option<Result<Carried<'_>, TooMany>>) -> Contents {
    let carried = match carried {
        Some(Ok(carried)) => carried,
        Some(Err(TooMany)) => return Contents::TooManyExtensions,
        None => return Contents::Malformed,
    };
    let icmp = if carried.is_v4 { ICMP } else { ICMPV6 };
    match (carried.protocol, carried.fragment) {
        (protocol, None) if protocol == icmp => {
            Contents::Icmp(quote(carried.payload, carried.is_v4))
        }
        (protocol, Some(_)) if protocol == icmp => Contents::Icmp(None),
        (protocol, Some(identity)) if carried.is_later => {
            let may_be_ours =
                matches!(protocol, TCP | UDP) || !carried.is_v4 && is_extension(protocol);
            if may_be_ours { Contents::Fragment(identity) } else { Contents::OtherProtocol }
        }
        (protocol, fragment) => {
            transport(protocol, carried.payload, fragment).unwrap_or(Contents::Malformed)
        }
    }
}

/// What an ICMP message quotes, if it is an error.
fn quote(message: &[u8], is_v4: bool) -> Option<Quote> {
    let errors: &[u8] = if is_v4 { &[3, 11, 12] } else { &[1, 2, 3, 4] };
    let packet = message.get(8..)?;
    if !errors.contains(&message[0]) || packet.first()? >> 4 != if is_v4 { 4 } else { 6 } {
        return None;
    }
    // The quoted packet is truncated: its original length does not matter.
    let (addresses, carried) = if is_v4 {
        (ipv4_addresses(packet)?, ipv4_carried(packet, packet.len())?)
    } else {
        (ipv6_addresses(packet)?, ipv6_carried(packet, packet.len())?.ok()?)
    };
    let Carried { protocol: protocol @ (TCP | UDP), payload, is_later: false, .. } = carried else {
        return None;
    };
    let (from, to) = (number(payload, 0)?, number(payload, 2)?);
    Some((protocol, (addresses.0, from), (addresses.1, to)))
}

const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

fn transport(protocol: u8, payload: &[u8], fragment: Option<Identity>) -> Option<Contents> {
    let (least, length, flags) = match protocol {
        TCP => (20, usize::from(payload.get(12)? >> 4) * 4, *payload.get(13)?),
        // The first fragment of a datagram states the length of the whole.
        UDP if fragment.is_some() => (8, usize::from(number(payload, 4)?).clamp(0, 8), 0),
        UDP => (8, usize::from(number(payload, 4)?), 0),
        _ => return Some(Contents::OtherProtocol),
    };
    if length < least || length > payload.len() {
        return None;
    }
    let ports = (number(payload, 0)?, number(payload, 2)?);
    let has_payload = payload.len() > length;
    Some(Contents::Segment { protocol, ports, flags, has_payload, fragment })
}

/// The 16-bit number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
