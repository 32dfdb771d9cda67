//! Network-order values: addresses, MAC addresses, protocols.

use core::net::{IpAddr, Ipv6Addr};

/// An IP address of either family: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
pub type Address = [u8; 16];

/// Ethernet address in transmission order.
pub type MacBytes = [u8; 6];

/// TCP's protocol number (RFC 9293).
pub const TCP: u8 = 6;
/// ICMP's protocol number (RFC 792).
pub const ICMP: u8 = 1;
/// ICMPv6's protocol number (RFC 4443).
pub const ICMPV6: u8 = 58;
/// UDP's protocol number (RFC 768).
pub const UDP: u8 = 17;

/// The mapped form of an address, as it stands in map keys and flow records.
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
