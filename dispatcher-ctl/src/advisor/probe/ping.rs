//! `ping`: an ICMP or ICMPv6 echo (RFC 792, RFC 4443).

use std::net::SocketAddr;

use etherparse::checksum::Sum16BitWords;

use super::{Fault, Target, datagram, dial, random};
use crate::model::Advisor;

/// Types of request and reply.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);
/// Type, code, checksum.
const HEADER: usize = 4;

pub(super) async fn check(advisor: &Advisor, target: &Target) -> Result<(), Fault> {
    let (socket, identifier) = dial::icmp(target).await?;
    let is_v4 = matches!(target.address, SocketAddr::V4(_));
    // Identifier, sequence number and data come back as they were sent.
    let mut own: [u16; 16] = random();
    own[0] = identifier.unwrap_or(own[0]);
    let own: Vec<u8> = own.iter().flat_map(|word| word.to_be_bytes()).collect();
    let (request, reply) = if is_v4 { V4 } else { V6 };
    let question = message(request, &own);
    datagram::ask(&socket, &question, advisor.receive_timeout, |packet| {
        let message = if is_v4 { packet.get(ip_header(packet)?..)? } else { packet };
        (message.first() == Some(&reply) && message.get(HEADER..)? == own).then_some(Ok(()))
    })
    .await
}

/// Length of an IPv4 header.
fn ip_header(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0xf) * 4)
}

/// A message with its ICMP checksum. For ICMPv6 the kernel overwrites the checksum.
fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0], rest].concat();
    let checksum = Sum16BitWords::new().add_slice(&message).ones_complement();
    message[2..4].copy_from_slice(&checksum.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_makes_the_sum_all_ones() {
        let message = message(8, &[0xff; 32]);
        let words = message.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff);
    }
}
