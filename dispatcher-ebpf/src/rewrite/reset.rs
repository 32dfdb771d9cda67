//! The RST that answers a TCP packet, made in its place (RFC 9293 §3.10.7.1).
//!
//! Tags stay; options and extension headers do not. So the answer is never longer than the packet.

use dispatcher_common::net::TCP;

use crate::{
    frame::{Frame, Window},
    parse::{
        self, ACK, ETHERNET, FIN, FlowWords, IPV4_HEADER, IPV6_HEADER, Network, RST, SYN,
        TCP_HEADER,
    },
};

use super::{
    checksum::{checksum, pseudo, sum},
    headers::{write_v4, write_v6},
    mac,
};

/// The least length of an Ethernet frame, without its checksum. A frame of at least this length does not get shorter.
const LEAST_FRAME: u32 = 60;

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

/// Turns a whole TCP packet into its answer, and returns the new length of the frame; none for any other packet. `flow` becomes
/// the packet's flow, except for the protocol.
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

/// Writes both headers, and returns where they end.
#[inline(always)]
fn write(frame: Frame, network: Network, flow: &FlowWords, answer: Answer) -> Option<u32> {
    let payload = TCP_HEADER as u16;
    let header = if network.is_v4 {
        write_v4(frame.window::<20>(network.offset)?, flow, TCP, payload);
        IPV4_HEADER
    } else {
        write_v6(frame.window::<40>(network.offset)?, flow, TCP, payload);
        IPV6_HEADER
    };
    let at = network.offset + header;
    write_tcp(frame.window::<20>(at)?, flow, answer, pseudo(flow, network.is_v4, TCP, payload));
    Some(at + TCP_HEADER)
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

/// Fills the frame with zeros up to the least length, if it is that long; returns its new length.
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
}
