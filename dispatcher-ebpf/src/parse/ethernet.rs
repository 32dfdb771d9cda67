//! Ethernet and VLAN tags.

use dispatcher_common::{limits::MAX_VLAN_TAGS, reason::Reason};

use super::ETHERNET;
use crate::frame::Frame;

/// EtherType of IPv4, as it stands in the packet.
pub const IPV4: u16 = 0x0800_u16.to_be();
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd_u16.to_be();
/// EtherType of a customer's tag (IEEE 802.1Q).
const VLAN: u16 = 0x8100_u16.to_be();
/// EtherType of a provider's tag (IEEE 802.1ad).
const PROVIDER_VLAN: u16 = 0x88a8_u16.to_be();
/// Bytes of a tag.
const TAG: u32 = 4;

/// Offset and EtherType of the payload behind the tags.
#[inline(always)]
pub(super) fn payload(frame: Frame) -> Result<(u32, u16), Reason> {
    let Some(header) = frame.head::<14>() else { return Err(Reason::NotIp) };
    let (mut offset, mut ethertype) = (ETHERNET, header.u16::<12>());
    let mut tags = 0;
    while tags < MAX_VLAN_TAGS && (ethertype == VLAN || ethertype == PROVIDER_VLAN) {
        let Some(tag) = frame.window::<4>(offset) else { return Err(Reason::NotIp) };
        ethertype = tag.u16::<2>();
        offset += TAG;
        tags += 1;
    }
    Ok((offset, ethertype))
}
