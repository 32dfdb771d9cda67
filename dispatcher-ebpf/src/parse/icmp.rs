//! ICMP and ICMPv6 errors (RFC 792, RFC 4443): the flow of the packet that they quote.
//!
//! Backends answer clients directly, with the VIP as source. A router that cannot forward such an answer sends an error to the
//! VIP, and quotes a packet whose source is the VIP.

use dispatcher_common::net::{TCP, UDP, icmp, icmpv6};

use super::{FlowWords, ICMP_HEADER, IPV4_HEADER, IPV6_HEADER, Network, Payload, ipv4, ipv6};
use crate::frame::Frame;

/// The largest offset at which an error is parsed: beyond it, the quoted packet may exceed what offsets of a frame reach.
const LAST_OFFSET: u32 = 0x3e00;

/// Sets `flow` to the flow of the packet that an ICMP error at an offset quotes. Before, `flow`'s VIP is the error's destination.
/// False if the message quotes no packet from that VIP, or too little of it; `flow`'s client, ports and protocol are then
/// undefined.
#[inline(always)]
#[must_use]
pub fn quoted(frame: Frame, network: Network, at: u32, flow: &mut FlowWords) -> bool {
    let end = network.offset + network.bytes;
    if at > LAST_OFFSET || !has_error(frame, at, network.is_v4) {
        return false;
    }
    let header = at + ICMP_HEADER;
    let payload = if network.is_v4 {
        quoted_v4(frame, header, end, flow)
    } else {
        quoted_v6(frame, header, end, flow)
    };
    match payload {
        Some(Payload { offset, protocol, contents }) if !contents.is_later() => {
            flow.protocol = u32::from(protocol);
            matches!(protocol, TCP | UDP) && set_ports(frame, offset, end, flow)
        }
        _ => false,
    }
}

/// Whether a message of this type is an error, which quotes a packet.
#[inline(always)]
#[must_use]
pub const fn is_error(kind: u8, is_v4: bool) -> bool {
    if is_v4 {
        matches!(kind, icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM)
    } else {
        matches!(kind, icmpv6::UNREACHABLE..=icmpv6::PARAMETER_PROBLEM)
    }
}

#[inline(always)]
fn has_error(frame: Frame, at: u32, is_v4: bool) -> bool {
    frame.window::<8>(at).is_some_and(|icmp| is_error(icmp.u8::<0>(), is_v4))
}

/// The payload of a quoted IPv4 packet from the VIP. Its length field is not used, since the quote is cut short.
#[inline(always)]
fn quoted_v4(frame: Frame, at: u32, end: u32, flow: &mut FlowWords) -> Option<Payload> {
    let header = frame.window::<20>(at)?;
    if at + IPV4_HEADER > end || header.u8::<0>() >> 4 != 4 || header.u32::<12>() != flow.vip[3] {
        return None;
    }
    flow.set_v4(header.u32::<16>(), header.u32::<12>());
    ipv4::payload(frame, at, end - at).ok()
}

#[inline(always)]
fn quoted_v6(frame: Frame, at: u32, end: u32, flow: &mut FlowWords) -> Option<Payload> {
    let header = frame.window::<40>(at)?;
    if at + IPV6_HEADER > end || header.u8::<0>() >> 4 != 6 {
        return None;
    }
    let source = [header.u32::<8>(), header.u32::<12>(), header.u32::<16>(), header.u32::<20>()];
    let [a, b, c, d] = flow.vip;
    if (source[0] ^ a) | (source[1] ^ b) | (source[2] ^ c) | (source[3] ^ d) != 0 {
        return None;
    }
    flow.client = [header.u32::<24>(), header.u32::<28>(), header.u32::<32>(), header.u32::<36>()];
    ipv6::payload(frame, at, end).ok()
}

/// The quoted packet's source is the VIP, its destination the client.
#[inline(always)]
fn set_ports(frame: Frame, at: u32, end: u32, flow: &mut FlowWords) -> bool {
    let Some(ports) = frame.window::<4>(at) else { return false };
    flow.ports = ports.u32::<0>().rotate_left(16);
    at + 4 <= end
}
