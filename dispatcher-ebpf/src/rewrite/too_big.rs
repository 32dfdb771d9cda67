//! The answer to a packet that is larger than the MTU of the NIC by which it would leave: "fragmentation needed" (RFC 1191 §4)
//! or "packet too big" (RFC 4443 §3.2), from the VIP. The answer's headers are put before the packet's IP header, so it quotes
//! the packet; tags stay.

use dispatcher_common::net::{ICMP, ICMPV6, icmp, icmpv6};

use crate::{
    frame::Frame,
    parse::{
        self, ETHERNET, FlowWords, ICMP_HEADER, IPV4_DONT_FRAGMENT, IPV4_HEADER, IPV6_HEADER,
        Network,
    },
};

use super::{
    checksum::{checksum, pseudo, sum},
    headers::{write_v4, write_v6},
    mac,
};

/// Bytes that an IPv4 error quotes: the longest header and the eight bytes that must follow it (RFC 792). No IPv4 MTU is so
/// small that a larger packet has fewer.
pub const QUOTE_V4: u32 = 68;
/// Bytes that an IPv6 error quotes: as many as fit into the least MTU (RFC 4443 §3.2).
pub const QUOTE_V6: u32 = LEAST_MTU_V6 - IPV6_HEADER - ICMP_HEADER;
/// The least MTU of IPv6; senders ignore a smaller one (RFC 8201 §4).
const LEAST_MTU_V6: u32 = 1280;
/// By how much a frame may be longer than the MTU: its header and one tag. The kernel redirects no longer frame.
pub const OVERHEAD: u32 = ETHERNET + 4;

/// A notice to a sender: the size of the largest packet that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    mtu: u32,
}

/// Bytes of an answer's headers that are put before the packet's.
#[inline(always)]
#[must_use]
pub const fn headers(is_v4: bool) -> u32 {
    ICMP_HEADER + if is_v4 { IPV4_HEADER } else { IPV6_HEADER }
}

/// Bytes of the packet that an answer quotes.
#[inline(always)]
#[must_use]
pub const fn quote(is_v4: bool) -> u32 {
    if is_v4 { QUOTE_V4 } else { QUOTE_V6 }
}

/// The notice to the sender of a packet that does not fit; none if the sender must not get one (RFC 1122 §3.2.2, RFC 4443 §2.4),
/// or the packet is shorter than what an answer quotes.
#[inline(always)]
#[must_use]
pub fn notice(frame: Frame, network: Network, flow: &FlowWords, mtu: u32) -> Option<Notice> {
    // Two tags leave less room than one, which the kernel allows for.
    let surplus = frame.length().wrapping_sub(network.bytes).saturating_sub(OVERHEAD);
    let mtu = mtu.saturating_sub(surplus);
    let may_be_told = if network.is_v4 {
        frame.window::<8>(network.offset)?.u16::<6>() & IPV4_DONT_FRAGMENT != 0
    } else {
        mtu >= LEAST_MTU_V6
    };
    let is_told = may_be_told
        && network.bytes >= quote(network.is_v4)
        && flow.has_host_client()
        && parse::has_ports(frame, network);
    is_told.then_some(Notice { mtu })
}

/// Writes the answer into a frame that has room for the answer's headers before the packet, and ends behind the quote. `quoted` is
/// the sum of the quote's words; `network` and `flow` are the packet's.
#[inline(always)]
pub fn write(
    frame: Frame,
    network: Network,
    flow: &FlowWords,
    notice: Notice,
    quoted: u32,
) -> Option<()> {
    let Network { offset, is_v4, .. } = network;
    let head = frame.window::<22>(headers(is_v4))?;
    let (to_us, from) = (head.u64::<0>(), head.u64::<6>());
    // Two tags are copied, even if the frame has none: the IP header then overwrites what is not a tag.
    let (tags, rest) = (head.u64::<12>(), head.u16::<20>());
    let start = frame.head::<22>()?;
    mac::rewrite(start, from, to_us);
    start.set_u64::<12>(tags);
    start.set_u16::<20>(rest);
    let payload = (ICMP_HEADER + quote(is_v4)) as u16;
    let (kind, number, outer) = if is_v4 {
        write_v4(frame.window::<20>(offset)?, flow, ICMP, payload);
        ([icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, 0, 0], notice.mtu & 0xffff, 0)
    } else {
        write_v6(frame.window::<40>(offset)?, flow, ICMPV6, payload);
        ([icmpv6::TOO_BIG, 0, 0, 0], notice.mtu, pseudo(flow, false, ICMPV6, payload))
    };
    let (kind, number) = (u32::from_ne_bytes(kind), number.to_be());
    let message = frame.window::<8>(offset + headers(is_v4) - ICMP_HEADER)?;
    message.set_u32::<0>(kind);
    message.set_u32::<4>(number);
    message.set_u16::<2>(checksum(outer + sum([kind, number, quoted, 0])));
    Some(())
}
