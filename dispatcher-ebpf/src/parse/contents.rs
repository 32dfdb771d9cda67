//! What an IP packet holds of what it carries, in one word: a BPF subprogram returns a register.

/// All of a segment or datagram, or a fragment of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Contents(pub u64);

const FIRST: u64 = 1 << 32;
const LATER: u64 = 2 << 32;

impl Contents {
    /// All of it.
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

    /// Whether it is all of it.
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
    }
}
