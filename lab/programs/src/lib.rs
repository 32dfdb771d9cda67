//! The contract between the programs and their users: the flood's frame, the order of a benchmark's flows, and the values of
//! maps.
#![cfg_attr(target_arch = "bpf", no_std)]

/// Common parts of every BPF object: a panic handler, and the licence that allows it to call all helpers.
#[cfg(target_arch = "bpf")]
mod object {
    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

/// Number of 16-bit words of the flood's frame: headers of Ethernet, IPv4 and TCP.
pub const SYN_WORDS: usize = (14 + 20 + 20) / 2;
/// First byte of the flood's source addresses: 100.0.0.0/8.
pub const SPOOFED: u8 = 100;

/// The driver's input for each frame, and the next flow. The only element of the driver's map `PLAN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Plan {
    /// Number of the next packet; increases by one with each.
    pub next: u64,
    /// Packets that the program under test rewrote: their source MAC differed.
    pub changed: u64,
    /// Bytes 0 to 7 of the frame, in its byte order.
    pub mac_head: u64,
    /// Bytes 8 to 11 of the frame, in its byte order: the last four bytes of the source MAC.
    pub mac_tail: u32,
    /// Bytes 12 and 13 of the frame, in its byte order.
    pub ethertype: u32,
    /// The four bytes after the client's address, host order: the VIP, or the start of an IPv6 one.
    pub vip: u32,
    /// The number of VIPs from that one on, minus 1. The number is a power of two.
    pub vip_mask: u32,
    /// The word that contains the client's port, with the port zeroed, in the frame's byte order.
    pub ports: u32,
    /// The port's place in that word: 0 for its first half, 16 for its second.
    pub shift: u32,
    /// The client's address of flow 0 (or the last four bytes of an IPv6 one), host order.
    pub address: u32,
    /// Order of the flows: packet n belongs to flow [`Self::first`] + (n × multiplier mod 2^k). This value is 2^k − 1.
    pub mask: u32,
    /// Odd, so that each flow occurs once in 2^k packets. 1: in order.
    pub multiplier: u32,
    /// The first flow.
    pub first: u32,
}

/// Number of client ports in use: one client address has as many flows.
const PORTS: u32 = 1 << 15;

impl Plan {
    /// The flow of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn flow(&self, packet: u64) -> u32 {
        self.first.wrapping_add((packet as u32).wrapping_mul(self.multiplier) & self.mask)
    }

    /// The client's address (or its end) and the VIP after it, in the frame's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn address_of(&self, flow: u32) -> u64 {
        let address = self.address.wrapping_add(flow / PORTS).to_be();
        let vip = self.vip.wrapping_add(flow & self.vip_mask).to_be();
        address as u64 | (vip as u64) << 32
    }

    /// The word with the client's port, in the frame's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn ports_of(&self, flow: u32) -> u32 {
        let port = (PORTS as u16 | (flow % PORTS) as u16).to_be();
        self.ports | (port as u32) << (self.shift & 16)
    }
}

/// Ways in a line of the floors' table.
pub const FLOOR_WAYS: usize = 4;
/// Number of the floors' backends: a power of two.
pub const FLOOR_BACKENDS: u32 = 64;

/// A connection in the floors' table; it is free if `backend` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FloorWay {
    /// Client address, in the frame's byte order.
    pub client: u32,
    /// VIP, in the frame's byte order.
    pub vip: u32,
    /// Both ports, in the frame's byte order.
    pub ports: u32,
    /// Number of the backend + 1.
    pub backend: u32,
}

/// One cache line of the floors' table.
pub type FloorLine = [FloorWay; FLOOR_WAYS];

/// The first twelve bytes of a frame to a backend, in the frame's byte order.
pub type FloorMacs = [u32; 3];

/// Key of the floors' services: VIP in the frame's byte order; port in the frame's byte order, and protocol << 16.
pub type FloorService = [u32; 2];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_flow_comes_once_in_a_scrambled_round() {
        let plan = Plan { mask: 1023, multiplier: 0x9E37_79B1, first: 5000, ..Plan::default() };
        let flows: BTreeSet<u32> = (7..7 + 1024).map(|packet| plan.flow(packet)).collect();
        assert_eq!(flows, (5000..6024).collect());
    }

    #[test]
    fn two_flows_differ_in_address_or_port() {
        let plan = Plan { address: 0x0a01_0000, shift: 16, ..Plan::default() };
        let words = |flow| (plan.address_of(flow) as u32, plan.ports_of(flow));
        assert_eq!(words(0), (0x0a01_0000_u32.to_be(), u32::from(0x8000_u16.to_be()) << 16));
        assert_eq!(
            words(PORTS + 1),
            (0x0a01_0001_u32.to_be(), u32::from(0x8001_u16.to_be()) << 16)
        );
    }
}
