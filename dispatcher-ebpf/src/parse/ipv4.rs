//! IPv4 (RFC 791): options are skipped, fragments told apart.

use dispatcher_common::{
    net::{TCP, UDP},
    reason::Reason,
};

use super::{FlowWords, IPV4_FRAGMENT, IPV4_HEADER, Network};
use crate::frame::Frame;

/// ICMP's protocol number (RFC 792).
const ICMP: u8 = 1;

/// The header at an offset.
#[inline(always)]
pub(super) fn network(frame: Frame, offset: u32, flow: &mut FlowWords) -> Result<Network, Reason> {
    let Some(header) = frame.window::<20>(offset) else { return Err(Reason::NotIp) };
    if header.u8::<0>() >> 4 != 4 {
        return Err(Reason::NotIp);
    }
    flow.set_v4(header.u32::<12>(), header.u32::<16>());
    Ok(Network { offset, is_v4: true, bytes: u32::from(u16::from_be(header.u16::<2>())) })
}

/// Offset and protocol of what the header carries; `bytes` is the IP length.
#[inline(always)]
pub(super) fn payload(frame: Frame, offset: u32, bytes: u32) -> Result<(u32, u8), Reason> {
    let Some(header) = frame.window::<20>(offset) else { return Err(Reason::Malformed) };
    let length = u32::from(header.u8::<0>() & 15) * 4;
    if length < IPV4_HEADER || bytes < length {
        return Err(Reason::Malformed);
    }
    let protocol = header.u8::<9>();
    match protocol {
        TCP | UDP if header.u16::<6>() & IPV4_FRAGMENT != 0 => Err(Reason::Fragment),
        TCP | UDP => Ok((offset + length, protocol)),
        ICMP => Err(Reason::Icmp),
        _ => Err(Reason::OtherProtocol),
    }
}
