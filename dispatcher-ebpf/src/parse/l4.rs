//! TCP (RFC 9293) and UDP (RFC 768): ports, and what TCP says besides.

use dispatcher_common::{net::TCP, reason::Reason};

use super::Contents;
use crate::{frame::Frame, measure::Segment};

/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;

/// What a TCP header says besides the ports; nothing for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Its flags.
    pub flags: u8,
    /// Acknowledgement number and payload.
    pub segment: Segment,
}

/// Ports of the header at an offset, and what TCP says; `end` is where the packet ends.
#[inline(always)]
pub(super) fn header(
    frame: Frame,
    at: u32,
    end: u32,
    protocol: u8,
    contents: Contents,
) -> Result<(u32, Tcp), Reason> {
    let available = end - at;
    if protocol == TCP {
        let Some(tcp) = frame.window::<14>(at) else { return Err(Reason::Malformed) };
        if !tcp_agrees(tcp.u8::<12>(), available) {
            return Err(Reason::Malformed);
        }
        let segment = Segment::new(tcp.u32::<8>(), tcp.u8::<12>(), available);
        return Ok((tcp.u32::<0>(), Tcp { flags: tcp.u8::<13>(), segment }));
    }
    let Some(udp) = frame.window::<8>(at) else { return Err(Reason::Malformed) };
    // A first fragment has the length of the whole datagram.
    let most = if contents.is_whole() { available } else { u32::MAX };
    if available < UDP_HEADER || !udp_agrees(udp.u16::<4>(), most) {
        return Err(Reason::Malformed);
    }
    Ok((udp.u32::<0>(), Tcp::default()))
}

/// Whether a TCP header's data offset (in the upper bits of its byte) agrees with what the packet has.
#[inline(always)]
pub(super) const fn tcp_agrees(data_offset: u8, available: u32) -> bool {
    let length = data_offset as u32 >> 4 << 2;
    length >= TCP_HEADER && length <= available
}

/// Whether a UDP header's length (as it stands in the packet) agrees with what the packet has.
#[inline(always)]
pub(super) const fn udp_agrees(length: u16, available: u32) -> bool {
    let length = u16::from_be(length) as u32;
    length >= UDP_HEADER && length <= available
}
