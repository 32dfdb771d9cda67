//! IPv4 (RFC 791): skips options, and recognises fragments.

use dispatcher_common::{
    net::{ICMP, TCP, UDP},
    reason::Reason,
};

use super::{
    Contents, FlowWords, IPV4_FRAGMENT, IPV4_FRAGMENT_OFFSET, IPV4_HEADER, Network, Payload,
};
use crate::frame::Frame;

/// The header at an offset.
#[inline(always)]
pub(super) fn network(frame: Frame, offset: u32, flow: &mut FlowWords) -> Result<Network, Reason> {
    let Some(header) = frame.window::<20>(offset) else { return Err(Reason::NotIp) };
    if header.u8::<0>() >> 4 != 4 {
        return Err(Reason::NotIp);
    }
    flow.set_v4(header.u32::<12>(), header.u32::<16>());
    let (tos, bytes) = (header.u8::<1>(), u32::from(u16::from_be(header.u16::<2>())));
    Ok(Network { offset, is_v4: true, tos, bytes })
}

/// The payload; `bytes` is the IP length.
#[inline(always)]
pub(super) fn payload(frame: Frame, offset: u32, bytes: u32) -> Result<Payload, Reason> {
    let Some(header) = frame.window::<20>(offset) else { return Err(Reason::Malformed) };
    let length = u32::from(header.u8::<0>() & 15) * 4;
    if length < IPV4_HEADER || bytes < length {
        return Err(Reason::Malformed);
    }
    let protocol = header.u8::<9>();
    let contents = contents(header.u16::<6>(), header.u16::<4>());
    let offset = offset + length;
    match protocol {
        TCP | UDP => Ok(Payload { offset, protocol, contents }),
        ICMP if contents.is_whole() => {
            Ok(Payload { offset, protocol, contents: Contents::icmp(offset) })
        }
        ICMP => Err(Reason::Icmp),
        _ => Err(Reason::OtherProtocol),
    }
}

/// The contents, by the field of flags and fragment offset, and the identification.
#[inline(always)]
const fn contents(fragment: u16, id: u16) -> Contents {
    if fragment & IPV4_FRAGMENT == 0 {
        Contents::WHOLE
    } else if fragment & IPV4_FRAGMENT_OFFSET == 0 {
        Contents::first(id as u32)
    } else {
        Contents::later(id as u32)
    }
}
