//! IP headers of answers, and the Internet checksum.

use crate::{
    frame::Window,
    parse::{FlowWords, IPV4_HEADER},
};

/// Hops that an answer may take.
const TTL: u8 = 64;

/// Writes the IPv4 header of an answer from the flow's VIP to its client, with so many bytes behind it.
#[inline(always)]
pub(super) fn write_v4(header: Window<20>, flow: &FlowWords, protocol: u8, payload: u16) {
    let [high, low] = (IPV4_HEADER as u16 + payload).to_be_bytes();
    let words = [
        u32::from_ne_bytes([0x45, 0, high, low]),
        // No identification, not to be fragmented (RFC 6864 §4.1).
        u32::from_ne_bytes([0, 0, 0x40, 0]),
        u32::from_ne_bytes([TTL, protocol, 0, 0]),
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

/// Writes the IPv6 header of an answer, as [`write_v4`].
#[inline(always)]
pub(super) fn write_v6(header: Window<40>, flow: &FlowWords, protocol: u8, payload: u16) {
    let [high, low] = payload.to_be_bytes();
    header.set_u32::<0>(u32::from_ne_bytes([0x60, 0, 0, 0]));
    header.set_u32::<4>(u32::from_ne_bytes([high, low, protocol, TTL]));
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

/// What a checksum covers besides the payload: both addresses, protocol and length, in whatever words (RFC 1071 §2).
#[inline(always)]
pub(super) fn pseudo(flow: &FlowWords, is_v4: bool, protocol: u8, payload: u16) -> u64 {
    let [high, low] = payload.to_be_bytes();
    let fixed = u64::from(u32::from_ne_bytes([0, protocol, high, low]));
    if is_v4 {
        fixed + u64::from(flow.vip[3]) + u64::from(flow.client[3])
    } else {
        fixed + sum(flow.vip) + sum(flow.client)
    }
}

/// The sum of words, which do not overflow it.
#[inline(always)]
pub(super) fn sum(words: [u32; 4]) -> u64 {
    let [a, b, c, d] = words;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// The Internet checksum (RFC 1071) by the sum of native words, as it is stored.
#[inline(always)]
pub(super) const fn checksum(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_rfcs() {
        // The example of RFC 1071 §3: 0001 f203 f4f5 f6f7 add up to ddf2.
        let words = [[0x00, 0x01, 0xf2, 0x03], [0xf4, 0xf5, 0xf6, 0xf7]].map(u32::from_ne_bytes);
        let found = checksum(sum([words[0], words[1], 0, 0]));
        assert_eq!(found.to_ne_bytes(), (!0xddf2_u16).to_be_bytes());
        assert_eq!(checksum(0xffff_ffff * 8), 0);
    }
}
