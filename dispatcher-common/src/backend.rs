//! Backends as the datapath sees them: next hop, state and limits.

use crate::{counts::ActiveCount, limits::MAX_INTERFACES, net::MacBytes};

/// The backend may get packets of its connections.
pub const USABLE: u8 = 1 << 0;
/// The backend is not down: UDP flows stay, and a SYN keeps its half-open entry.
pub const UP: u8 = 1 << 1;
/// New connections may be placed on it: up, not quiesced, weight above 0.
pub const NEW: u8 = 1 << 2;
/// The backend is on this host: its packets are passed to the kernel.
pub const LOCAL: u8 = 1 << 3;
/// The slot belongs to a backend; clear after the backend was removed.
pub const PRESENT: u8 = 1 << 4;
/// The backend's MAC address is not known.
pub const NO_MAC: u8 = 1 << 5;
/// While the backend is not usable, TCP packets of its connections are answered with an RST (`on_down = "reset"`).
pub const RESET: u8 = 1 << 7;

/// Clients that have an affinity record of the backend stay with it: up, `sticky`, and not quiesced with `--now`.
pub const STICKY: u8 = 1 << 6;

/// [`Forward::is_measured`].
const MEASURED: u64 = 1 << 55;
/// [`Forward::forwarding`].
const FORWARDING: u64 = 1 << FORWARDING_SHIFT;
const FORWARDING_SHIFT: u32 = 54;

/// How packets are sent to a backend that is not on this host: the key `forward` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Forwarding {
    /// By replacing the MAC addresses.
    Mac = 0,
    /// A mode that this datapath does not know: such a backend is not usable. One more mode fits into the field.
    Unknown = 1,
}

/// Destination MAC, interface index and flags in one word, so that a reader never sees a mixture of two.
///
/// Bits 0–47: MAC in transmission order (bits 0–7 the first byte); 48–53: interface index; 54: [`Forwarding`]; 55: whether its
/// connections are measured; 56–63: flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Forward(pub u64);

impl Forward {
    /// Packs the parts.
    #[must_use]
    pub const fn new(mac: MacBytes, interface: u8, flags: u8) -> Self {
        Self(u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], interface, flags]))
    }

    /// The same word, with or without measured connections.
    #[must_use]
    pub const fn measured(self, is_measured: bool) -> Self {
        Self(self.0 & !MEASURED | if is_measured { MEASURED } else { 0 })
    }

    /// The same word, with another forwarding mode.
    #[must_use]
    pub const fn by(self, forwarding: Forwarding) -> Self {
        Self(self.0 & !FORWARDING | (forwarding as u64) << FORWARDING_SHIFT)
    }

    /// How packets are sent to the backend.
    #[inline(always)]
    #[must_use]
    pub const fn forwarding(self) -> Forwarding {
        if self.0 & FORWARDING == 0 { Forwarding::Mac } else { Forwarding::Unknown }
    }

    /// Whether the backend is up, usable and reached by [`Forwarding::Mac`]: one test for the fast path.
    #[inline(always)]
    #[must_use]
    pub const fn is_plain(self) -> bool {
        const FLAGS: u32 = 56 - FORWARDING_SHIFT;
        const SEEN: u64 = ((USABLE | UP | LOCAL) as u64) << FLAGS | 1;
        self.0 >> FORWARDING_SHIFT & SEEN == ((USABLE | UP) as u64) << FLAGS
    }

    /// Whether its connections are measured ([`crate::measure`]).
    #[inline(always)]
    #[must_use]
    pub const fn is_measured(self) -> bool {
        self.0 & MEASURED != 0
    }

    /// Destination MAC.
    #[must_use]
    pub const fn mac(self) -> MacBytes {
        let b = self.0.to_le_bytes();
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    }

    /// Interface index (not the kernel's ifindex) on which the backend lives.
    #[inline(always)]
    #[must_use]
    pub const fn interface(self) -> u32 {
        (self.0 >> 48) as u32 & (MAX_INTERFACES - 1)
    }

    /// Flags of this module.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

shared! {
    /// A slot of `BACKENDS`: one backend of one service. Written by the controller, each field by one store.
    pub struct BackendValue [16] {
        /// A [`Forward`] word.
        pub forward: u64,
        /// [`crate::service::ServiceId`] that the slot belongs to; unchanged while a way may point to the slot.
        pub service: u32,
        /// A [`Share`] word.
        pub share: u32,
    }
}

/// A backend's weight and its bound on connections, in one word.
///
/// Bits 0–23: most active connections, 0 for any number; 24–31: weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Share(pub u32);

impl Share {
    /// The largest bound on connections that fits.
    pub const MOST_CONNECTIONS: u32 = (1 << 24) - 1;

    /// Packs the parts; a bound that does not fit counts as no bound.
    #[must_use]
    pub const fn new(weight: u8, max_connections: u32) -> Self {
        let bound = if max_connections > Self::MOST_CONNECTIONS { 0 } else { max_connections };
        Self((weight as u32) << 24 | bound)
    }

    /// Weight.
    #[inline(always)]
    #[must_use]
    pub const fn weight(self) -> u32 {
        self.0 >> 24
    }

    /// Whether a backend with this count of connections takes no more connections.
    ///
    /// Half-open connections use at most half of the bound, rounded up: anybody can open them, from forged addresses. The other
    /// half is for clients that complete a handshake.
    #[inline(always)]
    #[must_use]
    pub const fn is_full(self, count: ActiveCount) -> bool {
        let bound = (self.0 & Self::MOST_CONNECTIONS) as u64;
        if bound == 0 {
            return false;
        }
        // If half-open connections use their half, it is full when the others reach half of the bound, rounded down.
        let active = count.active();
        active >= bound && active.wrapping_sub(count.half_open()) >= bound / 2
    }
}

shared! {
    /// A record of `INTERFACES`, by interface index.
    pub struct InterfaceValue [16] {
        /// The NIC's own MAC and, as flags, 1 when the record is in use ([`Forward`]'s layout, interface index 0).
        pub mac: u64,
        /// The kernel's ifindex.
        pub ifindex: u32,
        /// The NIC's MTU in bytes of L3; 0: not known. It shares a word with `ifindex`, and both are written by one store.
        pub mtu: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_its_parts() {
        let mac = [2, 0, 0, 0, 1, 9];
        for (flags, is_plain) in
            [(USABLE | UP | NEW, true), (UP, false), (USABLE, false), (USABLE | UP | LOCAL, false)]
        {
            let forward = Forward::new(mac, 63, flags).measured(true);
            assert_eq!((forward.mac(), forward.interface(), forward.flags()), (mac, 63, flags));
            assert_eq!((forward.forwarding(), forward.is_plain()), (Forwarding::Mac, is_plain));
            let other = forward.by(Forwarding::Unknown);
            assert_eq!((other.forwarding(), other.is_plain()), (Forwarding::Unknown, false));
            assert_eq!((other.by(Forwarding::Mac), other.interface()), (forward, 63));
        }
    }

    #[test]
    fn half_open_connections_fill_half_of_the_bound() {
        let full = |bound, established: u64, half_open: u64| {
            let count = established * ActiveCount::ACTIVE + half_open * ActiveCount::HALF_OPEN;
            Share::new(1, bound).is_full(ActiveCount(count))
        };
        for (bound, established, half_open, want) in [
            (0, 1 << 24, 1 << 24, false),
            (1, 0, 0, false),
            (1, 0, 1, true),
            (1, 1, 0, true),
            (2, 0, 9, false),
            (2, 1, 1, true),
            (5, 2, 2, false),
            (5, 2, 3, true),
            (5, 1, 1000, false),
            (5, 2, 1000, true),
            (100, 49, 1 << 20, false),
            (100, 50, 50, true),
            (100, 100, 0, true),
            (100, 99, 0, false),
        ] {
            assert_eq!(
                full(bound, established, half_open),
                want,
                "{bound} {established} {half_open}"
            );
        }
    }
}
