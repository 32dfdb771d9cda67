//! The answer to a TCP packet that nobody will answer: an RST made of it, in its place (RFC 9293 §3.10.7.1).
//!
//! Tags stay; options and extension headers do not. Nothing of it is later than in the packet: it is never longer.

use dispatcher_common::net::TCP;

use crate::{
    frame::{Frame, Window},
    parse::{self, ETHERNET, FlowWords, IPV4_HEADER, IPV6_HEADER, Network},
    tracking::{ACK, FIN, RST, SYN},
};

use super::mac;

/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// A frame that has this many bytes keeps them: it is what Ethernet carries at least, its checksum left out.
const LEAST_FRAME: u32 = 60;
/// Hops that an RST may take.
const TTL: u8 = 64;

/// Sequence number, acknowledgement number and flags of the answer, numbers in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
}

/// The answer to a segment; `length` is that of its payload.
#[inline(always)]
const fn answer(sequence: u32, acknowledgement: u32, flags: u8, length: u32) -> Answer {
    if flags & ACK != 0 {
        return Answer { sequence: acknowledgement, acknowledgement: 0, flags: RST };
    }
    let controls = (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
    let next = u32::from_be(sequence).wrapping_add(length).wrapping_add(controls);
    Answer { sequence: 0, acknowledgement: next.to_be(), flags: RST | ACK }
}

/// Makes the answer of a whole TCP packet, and yields how long the frame shall be; none if it is no such packet.
/// `flow` is the packet's, but for the protocol.
#[inline(always)]
pub fn make(frame: Frame, flow: &mut FlowWords) -> Option<u32> {
    let network = parse::network(frame, flow).ok()?;
    let at = parse::segment(frame, network)?;
    let tcp = frame.window::<20>(at)?;
    let header = u32::from(tcp.u8::<12>() >> 4) * 4;
    let length = (network.offset + network.bytes).wrapping_sub(at).wrapping_sub(header);
    let answer = answer(tcp.u32::<4>(), tcp.u32::<8>(), tcp.u8::<13>(), length);
    flow.ports = tcp.u32::<0>();
    let end = write(frame, network, flow, answer)?;
    let head = frame.head::<14>()?;
    let (destination, source) = (address(head.u32::<0>(), head.u16::<4>()), sender(head));
    mac::rewrite(head, source, destination);
    Some(fill(frame, end))
}

#[inline(always)]
fn sender(head: Window<14>) -> u64 {
    u64::from(head.u16::<6>()) | u64::from(head.u32::<8>()) << 16
}

#[inline(always)]
fn address(low: u32, high: u16) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Writes both headers, and yields where they end.
#[inline(always)]
fn write(frame: Frame, network: Network, flow: &FlowWords, answer: Answer) -> Option<u32> {
    let addresses = if network.is_v4 {
        let header = frame.window::<20>(network.offset)?;
        write_v4(header, flow);
        u64::from(flow.vip[3]) + u64::from(flow.client[3])
    } else {
        let header = frame.window::<40>(network.offset)?;
        write_v6(header, flow);
        let [a, b, c, d] = flow.vip;
        let [e, f, g, h] = flow.client;
        sum([a, b, c, d]) + sum([e, f, g, h])
    };
    let header = if network.is_v4 { IPV4_HEADER } else { IPV6_HEADER };
    let at = network.offset + header;
    // What the checksum covers besides the segment: protocol and length, in whatever words (RFC 1071 §2).
    let pseudo = u32::from_ne_bytes([0, TCP, 0, TCP_HEADER as u8]);
    write_tcp(frame.window::<20>(at)?, flow, answer, addresses + u64::from(pseudo));
    Some(at + TCP_HEADER)
}

#[inline(always)]
fn write_v4(header: Window<20>, flow: &FlowWords) {
    let length = (IPV4_HEADER + TCP_HEADER) as u8;
    let words = [
        u32::from_ne_bytes([0x45, 0, 0, length]),
        // No identification, not to be fragmented (RFC 6864 §4.1).
        u32::from_ne_bytes([0, 0, 0x40, 0]),
        u32::from_ne_bytes([TTL, TCP, 0, 0]),
    ];
    let (vip, client) = (flow.vip[3], flow.client[3]);
    header.set_u32::<0>(words[0]);
    header.set_u32::<4>(words[1]);
    header.set_u32::<8>(words[2]);
    header.set_u32::<12>(vip);
    header.set_u32::<16>(client);
    let fixed = sum([words[0], words[1], words[2], 0]);
    header.set_u16::<10>(checksum(fixed + u64::from(vip) + u64::from(client)));
}

#[inline(always)]
fn write_v6(header: Window<40>, flow: &FlowWords) {
    header.set_u32::<0>(u32::from_ne_bytes([0x60, 0, 0, 0]));
    header.set_u32::<4>(u32::from_ne_bytes([0, TCP_HEADER as u8, TCP, TTL]));
    let [a, b, c, d] = flow.vip;
    header.set_u32::<8>(a);
    header.set_u32::<12>(b);
    header.set_u32::<16>(c);
    header.set_u32::<20>(d);
    let [a, b, c, d] = flow.client;
    header.set_u32::<24>(a);
    header.set_u32::<28>(b);
    header.set_u32::<32>(c);
    header.set_u32::<36>(d);
}

#[inline(always)]
fn write_tcp(header: Window<20>, flow: &FlowWords, answer: Answer, pseudo: u64) {
    let ports = flow.ports.rotate_left(16);
    let offset_and_flags = u32::from_ne_bytes([(TCP_HEADER as u8 / 4) << 4, answer.flags, 0, 0]);
    header.set_u32::<0>(ports);
    header.set_u32::<4>(answer.sequence);
    header.set_u32::<8>(answer.acknowledgement);
    header.set_u32::<12>(offset_and_flags);
    header.set_u32::<16>(0);
    let segment = [ports, answer.sequence, answer.acknowledgement, offset_and_flags];
    header.set_u16::<16>(checksum(pseudo + sum(segment)));
}

#[inline(always)]
fn sum(words: [u32; 4]) -> u64 {
    let [a, b, c, d] = words;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// The Internet checksum (RFC 1071) by the sum of native words, as it is stored.
#[inline(always)]
const fn checksum(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Zeros up to the least length of a frame, where it has that; yields its new length.
#[inline(always)]
fn fill(frame: Frame, end: u32) -> u32 {
    if end >= LEAST_FRAME || frame.length() < LEAST_FRAME {
        return end;
    }
    let mut at = ETHERNET + IPV4_HEADER + TCP_HEADER;
    while at < LEAST_FRAME {
        if at >= end
            && let Some(window) = frame.window::<2>(at)
        {
            window.set_u16::<0>(0);
        }
        at += 2;
    }
    LEAST_FRAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rst_is_what_the_sender_expects() {
        let (seq, ack) = (1000_u32.to_be(), 7_u32.to_be());
        let alone = Answer { sequence: ack, acknowledgement: 0, flags: RST };
        assert_eq!(answer(seq, ack, ACK, 100), alone);
        assert_eq!(answer(seq, ack, ACK | FIN | SYN, 100), alone);
        let with_ack =
            |number: u32| Answer { sequence: 0, acknowledgement: number.to_be(), flags: RST | ACK };
        assert_eq!(answer(seq, ack, 0, 100), with_ack(1100));
        assert_eq!(answer(seq, ack, SYN, 0), with_ack(1001));
        assert_eq!(answer(seq, ack, SYN | FIN, 5), with_ack(1007));
        assert_eq!(answer(u32::MAX, 0, FIN, 3), with_ack(3));
    }

    #[test]
    fn the_checksum_is_the_rfcs() {
        // The example of RFC 1071 §3: 0001 f203 f4f5 f6f7 add up to ddf2.
        let words = [[0x00, 0x01, 0xf2, 0x03], [0xf4, 0xf5, 0xf6, 0xf7]].map(u32::from_ne_bytes);
        let found = checksum(sum([words[0], words[1], 0, 0]));
        assert_eq!(found.to_ne_bytes(), (!0xddf2_u16).to_be_bytes());
        assert_eq!(checksum(0xffff_ffff * 8), 0);
    }
}
