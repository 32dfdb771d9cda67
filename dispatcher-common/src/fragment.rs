//! Fragments: the slot of a datagram's first fragment, to which the others go, too.

use crate::{connection::SLOT, net::Address};

/// Nanoseconds after its first fragment in which a datagram's other fragments are forwarded. Reassembly waits 15 s at first
/// (RFC 791), 60 s (RFC 8200), or 30 s (Linux). A longer time is wrong, since identifications are reused.
pub const FRAGMENT_TIMEOUT_NS: u64 = 30_000_000_000;

shared! {
    /// Key of `FRAGMENTS`: the fields that are equal in all fragments of a datagram.
    pub struct FragmentKey [40] {
        /// Client address.
        pub client: Address,
        /// Address the client sent to.
        pub vip: Address,
        /// Identification, in the packet's byte order; IPv4's fills the lower 16 bits of a native word.
        pub id: u32,
        /// IPv4: protocol number. IPv6: 0, since there the field may differ among fragments (RFC 8200 §4.5).
        pub protocol: u32,
    }
}

/// A value of `FRAGMENTS`, in one word: nanoseconds of the monotonic clock at which the first fragment came, the lowest
/// 14 bits replaced by the backend slot to which it went. Slot 0, which no backend has: it was passed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed(pub u64);

impl Followed {
    /// A first fragment that came at this time and went to this slot.
    #[inline(always)]
    #[must_use]
    pub const fn new(ns: u64, slot: u32) -> Self {
        Self(ns & !SLOT | slot as u64 & SLOT)
    }

    /// The slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & SLOT) as u32
    }

    /// Whether it came too long ago to be used.
    #[inline(always)]
    #[must_use]
    pub const fn is_stale(self, now_ns: u64) -> bool {
        // Signed: another CPU's clock may be a little ahead.
        now_ns.wrapping_sub(self.0).cast_signed() > FRAGMENT_TIMEOUT_NS.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_fragment_is_followed_for_its_time() {
        let came = 7_000_000_000_123;
        let followed = Followed::new(came, 16_383);
        assert_eq!(followed.slot(), 16_383);
        assert!(!followed.is_stale(came) && !followed.is_stale(came - 4_000_000));
        assert!(!followed.is_stale(came + FRAGMENT_TIMEOUT_NS - (1 << 14)));
        assert!(followed.is_stale(came + FRAGMENT_TIMEOUT_NS + (1 << 14)));
    }
}
