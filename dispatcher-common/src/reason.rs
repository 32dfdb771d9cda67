//! Reasons for which packets leave the path, each with its verdict and its label.

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Left to the kernel.
    Pass,
    /// Sent out of the NIC it came by.
    Tx,
    /// Sent out of another NIC.
    Redirect,
    /// Discarded.
    Drop,
}

impl Verdict {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tx => "tx",
            Self::Redirect => "redirect",
            Self::Drop => "drop",
        }
    }
}

/// Places for reasons in counter maps: more than there are reasons, so that a new reason does not change the layout.
pub const REASONS: usize = 32;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal $verdict:ident $label:literal),+ $(,)?) => {
        /// Why a packet left the path. Every packet counts for exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number),+ }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason with a number; the first one if no reason has it.
            #[inline(always)]
            #[must_use]
            pub const fn of(number: u32) -> Self {
                const {
                    let mut next = 0;
                    while next < Self::ALL.len() {
                        assert!(Self::ALL[next] as usize == next, "numbers have a gap");
                        next += 1;
                    }
                }
                // Not a `match`, from which LLVM makes eleven instructions instead of two.
                let number = if (number as usize) < Self::ALL.len() { number } else { 0 };
                // SAFETY: the enum is `repr(u32)` and has every number below `ALL.len()`, as is asserted above.
                unsafe { core::mem::transmute::<u32, Self>(number) }
            }

            /// The metric label.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $label),+ } }

            /// What happens to a packet that leaves for this reason.
            #[must_use]
            pub const fn verdict(self) -> Verdict { match self { $(Self::$name => Verdict::$verdict),+ } }

            /// One line of explanation, as in the reference.
            #[must_use]
            pub const fn describe(self) -> &'static str { match self { $(Self::$name => concat!($($doc),+)),+ } }
        }
    };
}

reasons! {
    /// Forwarded to a backend on the NIC the packet came by.
    Forwarded = 0 Tx "forwarded",
    /// Forwarded to a backend on another NIC.
    Redirected = 1 Redirect "forwarded",
    /// For a backend on this host (`local = true`).
    Local = 2 Pass "local",
    /// Neither IPv4 nor IPv6 (ARP among them), more VLAN tags than are parsed, or too short to tell.
    NotIp = 3 Pass "not_ip",
    /// To an address that is not a VIP with services, or in a frame that is not addressed to this NIC.
    NotOurs = 4 Pass "not_ours",
    /// ICMP or ICMPv6 to a VIP that is no error quoting a connection: the kernel answers.
    Icmp = 5 Pass "icmp",
    /// To a VIP, but neither TCP, UDP nor ICMP.
    OtherProtocol = 6 Pass "other_protocol",
    /// A TCP packet without a connection, by `orphan = "pass"`.
    OrphanPassed = 7 Pass "orphan",
    /// To a VIP, but to a port and protocol that no service has.
    NoService = 8 Drop "no_service",
    /// The service has no backend that takes new connections.
    NoBackend = 9 Drop "no_backend",
    /// A FIN without a connection.
    OrphanFin = 10 Drop "orphan_fin",
    /// An RST without a connection.
    OrphanRst = 11 Drop "orphan_rst",
    /// An ACK without a connection.
    OrphanAck = 12 Drop "orphan_ack",
    /// A TCP packet without a connection and without SYN, FIN, RST and ACK, or with both SYN and ACK.
    OrphanOther = 13 Drop "orphan_other",
    /// A fragment to a VIP whose first fragment was not seen, or too long ago.
    Fragment = 14 Drop "fragment",
    /// To a VIP, but a header is cut short or contradicts itself.
    Malformed = 15 Drop "malformed",
    /// To a VIP, behind more IPv6 extension headers than are walked.
    ExtensionHeaders = 16 Drop "extension_headers",
    /// The connection's backend is down, and `on_down = "drop"` or it was taken down by hand.
    BackendDown = 17 Drop "backend_down",
    /// The connection's backend was removed.
    BackendGone = 18 Drop "backend_gone",
    /// The connection's backend has no known MAC address.
    BackendNoMac = 19 Drop "backend_no_mac",
    /// A SYN whose fingerprint is that of another established connection.
    Collision = 20 Drop "collision",
    /// The NIC on which the backend lives is not there.
    NoInterface = 21 Drop "no_interface",
    /// Answered with an RST, by `orphan = "reset"` or `on_down = "reset"`.
    Reset = 22 Tx "reset",
    /// Came from the backend to which it would go, and the service has no local backend that is up.
    Loop = 23 Drop "loop",
    /// Larger than the MTU of the NIC behind which the backend lives, and its sender was not told: it may be fragmented, is an
    /// ICMP error or a later fragment, or too many senders were told just now.
    TooBig = 24 Drop "too_big",
    /// Larger than the MTU of the NIC behind which the backend lives: answered by ICMP, which says how large it may be.
    TooBigAnswered = 25 Tx "too_big",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_leave_room() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert_eq!(Reason::of(i as u32), *reason);
        }
        assert_eq!(Reason::of(u32::MAX), Reason::Forwarded);
        assert!(Reason::ALL.len() <= REASONS);
    }

    #[test]
    fn a_label_is_unique_within_its_verdict() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            for b in &Reason::ALL[..i] {
                assert!((a.verdict(), a.as_str()) != (b.verdict(), b.as_str()));
            }
        }
    }
}
