//! TCP (RFC 9293) and UDP (RFC 768): ports, and flags and segment of TCP.

use dispatcher_common::{net::TCP, reason::Reason};

use super::{Contents, TCP_HEADER, UDP_HEADER};
use crate::frame::Frame;

/// TCP flag FIN (RFC 9293 §3.1).
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// What a TCP header says in addition to the ports; nothing for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Its flags.
    pub flags: u8,
    /// Acknowledgement number and payload.
    pub segment: Segment,
}

/// What a TCP segment says, in one word: its acknowledgement number (host order) in the upper half, its payload's bytes in
/// the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Segment(pub u64);

impl Segment {
    /// A segment with an acknowledgement number in network order, a header with this data offset (in the upper bits of its
    /// byte), and this many bytes from the header on.
    #[inline(always)]
    #[must_use]
    pub const fn new(acknowledgement: u32, data_offset: u8, bytes: u32) -> Self {
        let payload = bytes.wrapping_sub(data_offset as u32 >> 4 << 2);
        Self((u32::from_be(acknowledgement) as u64) << 32 | payload as u64)
    }

    /// Acknowledgement number.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledgement(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes of the payload.
    #[inline(always)]
    #[must_use]
    pub const fn payload(self) -> u32 {
        self.0 as u32
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_gives_back_its_parts() {
        let segment = Segment::new(0x0102_0304_u32.to_be(), 0x5f, 1480);
        assert_eq!((segment.acknowledgement(), segment.payload()), (0x0102_0304, 1460));
    }
}
