//! IP headers of answers.

use super::checksum::{checksum, sum};
use crate::{
    frame::Window,
    parse::{FlowWords, IPV4_DONT_FRAGMENT, IPV4_HEADER},
};

/// Hop limit of an answer.
const TTL: u8 = 64;

/// Writes the IPv4 header of an answer from the flow's VIP to its client, with this many bytes behind it.
#[inline(always)]
pub(super) fn write_v4(header: Window<20>, flow: &FlowWords, protocol: u8, payload: u16) {
    let [high, low] = (IPV4_HEADER as u16 + payload).to_be_bytes();
    let words = [
        u32::from_ne_bytes([0x45, 0, high, low]),
        // No identification, since it must not be fragmented (RFC 6864 §4.1).
        u32::from(IPV4_DONT_FRAGMENT) << 16,
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
