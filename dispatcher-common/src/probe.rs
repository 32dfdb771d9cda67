//! The source ports of probes of VIPs, which name the backend that is probed.
//!
//! All backends of a service have the VIP, so addresses do not distinguish their probes. Every slot has a few source ports of
//! its own, above [`FIRST_PORT`]. Its probes use them in turn, so that a new probe does not find the state of its predecessor.
//! ICMP probes take their echo identifier from the same range.

use crate::{limits::MAX_SLOTS, net::MacBytes};

/// The source port of slot 0's first probe.
pub const FIRST_PORT: u16 = 16_384;
/// Ports of a slot.
pub const PORTS: u16 = 3;

const _: () = assert!(FIRST_PORT as u32 + MAX_SLOTS * PORTS as u32 - 1 <= u16::MAX as u32);

/// The source port of a slot's probe; `turn` counts its probes. None if this is not a slot.
#[must_use]
pub const fn port(slot: u32, turn: u16) -> Option<u16> {
    if slot >= MAX_SLOTS {
        return None;
    }
    Some(FIRST_PORT + slot as u16 * PORTS + turn % PORTS)
}

/// The slot whose probes have this source port, in host order.
#[inline(always)]
#[must_use]
pub const fn slot(port: u16) -> Option<u32> {
    if port < FIRST_PORT { None } else { Some((port - FIRST_PORT) as u32 / PORTS as u32) }
}

shared! {
    /// A record of `PROBE_ENDS`: the destination of answers to probes from this address.
    pub struct ProbeEnd [12] {
        /// The kernel's ifindex of the NIC that leads to the prober.
        pub ifindex: u32,
        /// MAC of the NIC at the prober's end.
        pub mac: MacBytes,
        /// Zero.
        pub _reserved: [u8; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_ports_of_its_own() {
        let mut next = FIRST_PORT.into();
        for number in 0..MAX_SLOTS {
            for turn in 0..PORTS {
                let given = port(number, turn).unwrap();
                assert_eq!((u32::from(given), slot(given)), (next, Some(number)));
                next += 1;
            }
        }
        assert_eq!(next, 1 << 16, "all ports up to the last are used");
    }

    #[test]
    fn turns_wrap_and_other_ports_have_no_slot() {
        assert_eq!(port(7, PORTS), port(7, 0));
        assert_eq!(port(7, u16::MAX), port(7, u16::MAX % PORTS));
        assert_eq!(port(MAX_SLOTS, 0), None);
        assert_eq!(slot(FIRST_PORT - 1), None);
    }
}
