//! Network-order values: addresses, MAC addresses, protocols.

use core::net::{IpAddr, Ipv6Addr};

/// An IP address of either family: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
pub type Address = [u8; 16];

/// Ethernet address in transmission order.
pub type MacBytes = [u8; 6];

/// Protocol number of ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// Protocol number of TCP (RFC 9293).
pub const TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;

/// Types of ICMP messages (RFC 792).
pub mod icmp {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Code of [`UNREACHABLE`]: fragmentation needed (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Types of ICMPv6 messages (RFC 4443).
pub mod icmpv6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
}

/// The mapped form of an address, as in map keys and flow records.
#[must_use]
pub const fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address of a mapped form.
#[must_use]
pub fn ip(address: &Address) -> IpAddr {
    let v6 = Ipv6Addr::from(*address);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// Whether an address is IPv4 in mapped form.
#[must_use]
pub fn is_v4(address: &Address) -> bool {
    address[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}

/// Whether an address is the unspecified one of its family, 0.0.0.0 or ::.
#[must_use]
pub const fn is_unspecified(address: &Address) -> bool {
    let mut i = 0;
    while i < address.len() {
        let is_mark = address[10] == 0xff && address[11] == 0xff && (i == 10 || i == 11);
        if address[i] != 0 && !is_mark {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_mapped_form() {
        for text in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::", "::1"] {
            let want: IpAddr = text.parse().unwrap();
            assert_eq!(ip(&address(want)), want);
            assert_eq!(is_v4(&address(want)), want.is_ipv4());
            assert_eq!(is_unspecified(&address(want)), want.is_unspecified());
        }
    }
}
