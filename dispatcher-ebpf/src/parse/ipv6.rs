//! IPv6 (RFC 8200): a bounded walk over extension headers.

use dispatcher_common::{
    limits::MAX_IPV6_EXT_HEADERS,
    net::{TCP, UDP},
    reason::Reason,
};

use super::{FlowWords, IPV6_HEADER, Network};
use crate::frame::Frame;

/// ICMPv6's protocol number (RFC 4443).
const ICMP: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Offset and more-fragments bits of a fragment header; all zero in an atomic fragment (RFC 6946).
const FRAGMENTED: u16 = 0xfff9_u16.to_be();

/// The header at an offset.
#[inline(always)]
pub(super) fn network(frame: Frame, offset: u32, flow: &mut FlowWords) -> Result<Network, Reason> {
    let Some(header) = frame.window::<40>(offset) else { return Err(Reason::NotIp) };
    if header.u8::<0>() >> 4 != 6 {
        return Err(Reason::NotIp);
    }
    flow.client = [header.u32::<8>(), header.u32::<12>(), header.u32::<16>(), header.u32::<20>()];
    flow.vip = [header.u32::<24>(), header.u32::<28>(), header.u32::<32>(), header.u32::<36>()];
    let bytes = u32::from(u16::from_be(header.u16::<4>())) + IPV6_HEADER;
    Ok(Network { offset, is_v4: false, bytes })
}

/// Offset and protocol of what lies behind the extension headers; `end` is where the packet ends.
#[inline(always)]
pub(super) fn payload(frame: Frame, offset: u32, end: u32) -> Result<(u32, u8), Reason> {
    let Some(header) = frame.window::<40>(offset) else { return Err(Reason::Malformed) };
    let (mut at, mut next) = (offset + IPV6_HEADER, header.u8::<6>());
    let mut walked = 0;
    while is_extension(next) {
        if walked == MAX_IPV6_EXT_HEADERS {
            return Err(Reason::ExtensionHeaders);
        }
        walked += 1;
        let Some(extension) = frame.window::<8>(at) else { return Err(Reason::Malformed) };
        // What follows the packet in the frame is padding.
        if at + 8 > end {
            return Err(Reason::Malformed);
        }
        let (kind, length) = (next, u32::from(extension.u8::<1>()));
        next = extension.u8::<0>();
        at += match kind {
            FRAGMENT if extension.u16::<2>() & FRAGMENTED != 0 => return Err(fragment_of(next)),
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if at > end {
            return Err(Reason::Malformed);
        }
    }
    match next {
        TCP | UDP => Ok((at, next)),
        ICMP => Err(Reason::Icmp),
        _ => Err(Reason::OtherProtocol),
    }
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Why a fragment leaves. Behind a further extension header its protocol is not in every fragment, so that it counts
/// as one of TCP or UDP.
#[inline(always)]
const fn fragment_of(next: u8) -> Reason {
    match next {
        ICMP => Reason::Icmp,
        TCP | UDP => Reason::Fragment,
        _ if is_extension(next) => Reason::Fragment,
        _ => Reason::OtherProtocol,
    }
}
