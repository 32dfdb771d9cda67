//! Plain headers: Ethernet without tags, a whole IP packet without options or extension headers, TCP or UDP. Every field is at
//! a fixed offset.

use dispatcher_common::{
    flow::{WORDS_V4, WORDS_V6, filter_bit, flow_hash, fold, table_hash},
    net::{TCP, UDP},
};

use super::{
    ETHERNET, FlowWords, IPV4_FRAGMENT, IPV4_HEADER, IPV6_HEADER, Segment,
    l4::{tcp_agrees, udp_agrees},
};
use crate::frame::Window;

/// The first bytes of a frame, read as plain headers of a family. Other values mean something only if [`Plain::has_form`] and
/// [`Plain::agrees`].
pub trait Plain: Copy {
    /// Whether the family is IPv4.
    const IS_V4: bool;

    /// Whether these are plain headers of an IP packet, by its first byte.
    fn has_form(self) -> bool;

    /// Whether the packet is whole, TCP or UDP, and its lengths agree with each other and with the frame's.
    fn agrees(self, frame_length: u32) -> bool;

    /// Bit of the destination-address filter.
    fn filter_bit(self) -> u32;

    /// L3 bytes.
    fn bytes(self) -> u32;

    /// Protocol number.
    fn protocol(self) -> u8;

    /// TOS or traffic class.
    fn tos(self) -> u8;

    /// Flags of TCP.
    fn flags(self) -> u8;

    /// Acknowledgement number and payload of TCP.
    fn segment(self) -> Segment;

    /// Writes the flow, word by word: each word is stored as soon as it is read.
    fn write_flow(self, flow: &mut FlowWords);

    /// The flow's hash in the connection table.
    fn hash(self, key: impl Fn(usize) -> u64) -> u64;

    /// The Ethernet header.
    fn ethernet(self) -> Window<14>;

    /// The same bytes, as if they had not been read yet ([`Window::again`]).
    #[must_use]
    fn again(self) -> Self;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct PlainV4(pub Window<54>);

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct PlainV6(pub Window<74>);

impl Plain for PlainV4 {
    const IS_V4: bool = true;

    #[inline(always)]
    fn has_form(self) -> bool {
        self.0.u8::<14>() == 0x45
    }

    #[inline(always)]
    fn agrees(self, frame_length: u32) -> bool {
        let bytes = self.bytes();
        let is_fragment = self.0.u16::<20>() & IPV4_FRAGMENT != 0;
        if is_fragment || bytes < IPV4_HEADER || ETHERNET + bytes > frame_length {
            return false;
        }
        let available = bytes - IPV4_HEADER;
        match self.protocol() {
            TCP => tcp_agrees(self.0.u8::<46>(), available),
            UDP => udp_agrees(self.0.u16::<38>(), available),
            _ => false,
        }
    }

    #[inline(always)]
    fn filter_bit(self) -> u32 {
        filter_bit(self.0.u32::<30>())
    }

    #[inline(always)]
    fn bytes(self) -> u32 {
        u32::from(u16::from_be(self.0.u16::<16>()))
    }

    #[inline(always)]
    fn protocol(self) -> u8 {
        self.0.u8::<23>()
    }

    #[inline(always)]
    fn tos(self) -> u8 {
        self.0.u8::<15>()
    }

    #[inline(always)]
    fn flags(self) -> u8 {
        self.0.u8::<47>()
    }

    #[inline(always)]
    fn segment(self) -> Segment {
        Segment::new(self.0.u32::<42>(), self.0.u8::<46>(), self.bytes().wrapping_sub(IPV4_HEADER))
    }

    #[inline(always)]
    fn write_flow(self, flow: &mut FlowWords) {
        flow.set_v4(self.0.u32::<26>(), self.0.u32::<30>());
        flow.ports = self.0.u32::<34>();
        flow.protocol = u32::from(self.protocol());
    }

    #[inline(always)]
    fn hash(self, key: impl Fn(usize) -> u64) -> u64 {
        let word = |i| if i < 3 { self.0.word(26 + 4 * i) } else { u32::from(self.protocol()) };
        table_hash(flow_hash::<WORDS_V4>(word, key), self.protocol())
    }

    #[inline(always)]
    fn ethernet(self) -> Window<14> {
        self.0.first()
    }

    #[inline(always)]
    fn again(self) -> Self {
        Self(self.0.again())
    }
}

impl Plain for PlainV6 {
    const IS_V4: bool = false;

    #[inline(always)]
    fn has_form(self) -> bool {
        self.0.u8::<14>() >> 4 == 6
    }

    #[inline(always)]
    fn agrees(self, frame_length: u32) -> bool {
        let available = self.bytes() - IPV6_HEADER;
        let agrees = match self.protocol() {
            TCP => tcp_agrees(self.0.u8::<66>(), available),
            UDP => udp_agrees(self.0.u16::<58>(), available),
            _ => false,
        };
        agrees && ETHERNET + self.bytes() <= frame_length
    }

    #[inline(always)]
    fn filter_bit(self) -> u32 {
        let vip = [self.0.u32::<38>(), self.0.u32::<42>(), self.0.u32::<46>(), self.0.u32::<50>()];
        filter_bit(fold(vip))
    }

    #[inline(always)]
    fn bytes(self) -> u32 {
        u32::from(u16::from_be(self.0.u16::<18>())) + IPV6_HEADER
    }

    #[inline(always)]
    fn protocol(self) -> u8 {
        self.0.u8::<20>()
    }

    #[inline(always)]
    fn tos(self) -> u8 {
        (u16::from_be(self.0.u16::<14>()) >> 4) as u8
    }

    #[inline(always)]
    fn flags(self) -> u8 {
        self.0.u8::<67>()
    }

    #[inline(always)]
    fn segment(self) -> Segment {
        Segment::new(self.0.u32::<62>(), self.0.u8::<66>(), self.bytes() - IPV6_HEADER)
    }

    #[inline(always)]
    fn write_flow(self, flow: &mut FlowWords) {
        let mut i = 0;
        while i < 4 {
            flow.client[i] = self.0.word(22 + 4 * i);
            flow.vip[i] = self.0.word(38 + 4 * i);
            i += 1;
        }
        flow.ports = self.0.u32::<54>();
        flow.protocol = u32::from(self.protocol());
    }

    #[inline(always)]
    fn hash(self, key: impl Fn(usize) -> u64) -> u64 {
        let word = |i| if i < 9 { self.0.word(22 + 4 * i) } else { u32::from(self.protocol()) };
        table_hash(flow_hash::<WORDS_V6>(word, key), self.protocol())
    }

    #[inline(always)]
    fn ethernet(self) -> Window<14> {
        self.0.first()
    }

    #[inline(always)]
    fn again(self) -> Self {
        Self(self.0.again())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::tests::frame,
        parse::{Contents, Tcp, network, transport},
    };

    /// Frames with a header of TCP or UDP, in which up to two bytes are random.
    fn frames(is_v4: bool) -> impl Iterator<Item = Vec<u8>> {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) as usize % below
        };
        (0..100_000).map(move |_| {
            let (protocol, payload) = ([TCP, UDP][random(2)], 20 + random(9));
            let mut bytes: Vec<_> = (0..16).chain(0x40..0x70).chain(0x80..0xb0).collect();
            let header = if is_v4 { 20 } else { 40 };
            bytes.truncate(14 + header + payload);
            if is_v4 {
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
                bytes[16..18].copy_from_slice(&[0, (header + payload) as u8]);
                bytes[20..24].copy_from_slice(&[0x40, 0, 64, protocol]);
            } else {
                bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x6b]);
                bytes[18..21].copy_from_slice(&[0, payload as u8, protocol]);
            }
            let l4 = 14 + header;
            if protocol == TCP {
                bytes[l4 + 12..l4 + 14].copy_from_slice(&[0x50, 0x10]);
            } else {
                bytes[l4 + 4..l4 + 6].copy_from_slice(&[0, payload as u8]);
            }
            for _ in 0..random(3) {
                let at = 14 + random(bytes.len() - 14);
                bytes[at] = [0, 5, 6, 17, 0x50, 0x60, random(256) as u8][random(7)];
            }
            bytes.resize(bytes.len().max(74), 0);
            bytes
        })
    }

    /// Checks that plain headers are read as on the full path; yields how many were plain.
    fn agree<P: Plain>(of: impl Fn(Window<74>) -> P) -> u32 {
        let mut plain = 0;
        for mut bytes in frames(P::IS_V4) {
            let frame = frame(&mut bytes);
            let head = of(frame.head().unwrap());
            if !head.has_form() || !head.agrees(frame.length()) {
                continue;
            }
            plain += 1;
            let [mut flow, mut whole] = [FlowWords { ports: 1, ..FlowWords::v4(1, 1, 1, 1) }; 2];
            head.write_flow(&mut flow);
            let found = network(frame, &mut whole).unwrap();
            let (contents, tcp) = transport(frame, found, &mut whole).unwrap();
            assert_eq!((flow, contents), (whole, Contents::WHOLE), "{bytes:x?}");
            assert_eq!((head.bytes(), head.tos()), (found.bytes, found.tos), "{bytes:x?}");
            if head.protocol() == TCP {
                let said = Tcp { flags: head.flags(), segment: head.segment() };
                assert_eq!(said, tcp, "{bytes:x?}");
            }
            let key = |i: usize| (i as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            let words = flow.words();
            let hash = if P::IS_V4 {
                flow_hash::<WORDS_V4>(|i| [words[3], words[7], words[8], words[9]][i], key)
            } else {
                flow_hash::<WORDS_V6>(|i| words[i], key)
            };
            assert_eq!(head.hash(key), table_hash(hash, head.protocol()), "{bytes:x?}");
        }
        plain
    }

    #[test]
    fn plain_headers_are_read_as_on_the_full_path() {
        let plain = [agree(|head| PlainV4(head.first())), agree(PlainV6)];
        assert!(plain.iter().all(|plain| (30_000..99_000).contains(plain)), "{plain:?}");
    }
}
