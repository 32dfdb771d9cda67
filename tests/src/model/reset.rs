//! The answer to a segment without a connection, after RFC 9293 §3.10.7.1.

use std::net::IpAddr;

use super::wire;
use crate::packet_builder::{ACK, FIN, PacketBuilder, RST, SYN, eth};

/// The frame that is sent back to the sender of a TCP packet: an RST, with the packet's own tags. It is at least 60 bytes long
/// if the packet's frame was.
/// the packet's frame was.
#[must_use]
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let datagram = wire::read(frame)?;
    let (l3, segment) = wire::segment(frame)?;
    let number =
        |at: usize| segment.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let port = |at: usize| segment.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let flags = *segment.get(13)?;
    let payload = segment.len() - usize::from(segment[12] >> 4) * 4;
    let length = payload + usize::from(flags & SYN != 0) + usize::from(flags & FIN != 0);
    let (flags, sequence, acknowledgement) = if flags & ACK != 0 {
        (RST, number(8)?, 0)
    } else {
        (RST | ACK, 0, number(4)?.wrapping_add(length as u32))
    };
    let answer = back(&frame[..l3], datagram.destination, datagram.source)
        .tcp(port(2)?, port(0)?, flags)
        .tcp_numbers(sequence, acknowledgement, 0);
    let mut bytes = answer.build().bytes;
    if frame.len() >= 60 {
        bytes.resize(bytes.len().max(60), 0);
    }
    Some(bytes)
}

/// An IP packet from the VIP to the client, in a frame back to the sender of a frame with this Ethernet header and these tags.
fn back(ethernet: &[u8], vip: IpAddr, client: IpAddr) -> PacketBuilder {
    let mac = |at: usize| <[u8; 6]>::try_from(&ethernet[at..at + 6]).unwrap_or_default();
    let mut frame = eth().to(mac(6)).from(mac(0));
    for tag in ethernet[12..].chunks_exact(4) {
        let number = |at: usize| u16::from_be_bytes([tag[at], tag[at + 1]]);
        frame = frame.tag(number(0), number(2));
    }
    match (vip, client) {
        (IpAddr::V4(vip), IpAddr::V4(client)) => frame.ipv4(vip, client).id(0).dont_fragment(),
        (IpAddr::V6(vip), IpAddr::V6(client)) => frame.ipv6(vip, client),
        _ => frame,
    }
}
