//! The contents of an IP packet, in one word: a BPF function returns one register.

/// All of a segment or datagram, a fragment of it, or an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Contents(pub u64);

const FIRST: u64 = 1 << 32;
const LATER: u64 = 2 << 32;
const ICMP: u64 = 4 << 32;

impl Contents {
    /// All of a segment or datagram.
    pub const WHOLE: Self = Self(0);

    /// The fragment with the transport header; `id` is the datagram's identification, in the packet's byte order.
    #[inline(always)]
    pub const fn first(id: u32) -> Self {
        Self(FIRST | id as u64)
    }

    /// A fragment without the transport header.
    #[inline(always)]
    pub const fn later(id: u32) -> Self {
        Self(LATER | id as u64)
    }

    /// An ICMP message at an offset.
    #[inline(always)]
    pub const fn icmp(offset: u32) -> Self {
        Self(ICMP | offset as u64)
    }

    /// Whether it is all of a segment or datagram.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.0 == 0
    }

    /// Whether it is a fragment without the transport header.
    #[inline(always)]
    #[must_use]
    pub const fn is_later(self) -> bool {
        self.0 & LATER != 0
    }

    /// Whether it is an ICMP message.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        self.0 & ICMP != 0
    }

    /// Whether it has ports.
    #[inline(always)]
    #[must_use]
    pub const fn has_ports(self) -> bool {
        self.0 & (LATER | ICMP) == 0
    }

    /// An ICMP message's offset.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// A fragment's identification.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_its_parts() {
        assert!(Contents::WHOLE.is_whole() && !Contents::WHOLE.is_later());
        let (first, later) = (Contents::first(u32::MAX), Contents::later(0));
        assert!(!first.is_whole() && !first.is_later());
        assert!(!later.is_whole() && later.is_later());
        assert_eq!((first.id(), later.id()), (u32::MAX, 0));
        let icmp = Contents::icmp(34);
        assert!(icmp.is_icmp() && !icmp.is_whole() && !icmp.is_later());
        assert!(!first.is_icmp() && !later.is_icmp() && icmp.offset() == 34);
        assert!(Contents::WHOLE.has_ports() && first.has_ports());
        assert!(!later.has_ports() && !icmp.has_ports());
    }
}
