//! Checks a rule's condition against a packet: client address and port, and TOS. The controller checks the rest.

use dispatcher_common::rule::Condition;

use crate::parse::FlowWords;

/// Whether the packet meets the condition; `tos` is its TOS or traffic class.
#[inline(always)]
#[must_use]
pub const fn holds(condition: &Condition, flow: &FlowWords, tos: u8) -> bool {
    let client = client(flow);
    let port = u16::from_be(flow.ports as u16) as u32;
    let (value, mask) = (condition.tos & 0xff, condition.tos >> 8 & 0xff);
    is_up_to(condition.first, client)
        && is_up_to(client, condition.last)
        && condition.ports & 0xffff <= port
        && port <= condition.ports >> 16
        && tos as u32 & mask == value
}

/// The client's address as a number, upper half first.
#[inline(always)]
const fn client(flow: &FlowWords) -> [u64; 2] {
    let [a, b, c, d] = flow.client;
    [half(a, b), half(c, d)]
}

#[inline(always)]
const fn half(upper: u32, lower: u32) -> u64 {
    (u32::from_be(upper) as u64) << 32 | u32::from_be(lower) as u64
}

#[inline(always)]
const fn is_up_to(a: [u64; 2], b: [u64; 2]) -> bool {
    a[0] < b[0] || a[0] == b[0] && a[1] <= b[1]
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use dispatcher_common::{net::address, rule::halves};

    use super::*;

    /// A flow of this client.
    fn flow(client: &str, port: u16) -> FlowWords {
        let ip: IpAddr = client.parse().unwrap();
        let bytes = address(ip);
        let client = core::array::from_fn(|i| {
            u32::from_ne_bytes(core::array::from_fn(|byte| bytes[i * 4 + byte]))
        });
        let ports = u32::from(port.to_be()) | u32::from(80_u16.to_be()) << 16;
        FlowWords { client, vip: [0; 4], ports, protocol: 6 }
    }

    fn between(first: &str, last: &str) -> Condition {
        let number = |ip: &str| halves(address(ip.parse().unwrap()));
        Condition { first: number(first), last: number(last), ..Condition::any(0) }
    }

    #[test]
    fn clients_are_compared_as_numbers() {
        let v4 = between("198.51.100.10", "198.51.101.3");
        for (client, want) in [
            ("198.51.100.9", false),
            ("198.51.100.10", true),
            ("198.51.100.255", true),
            ("198.51.101.3", true),
            ("198.51.101.4", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(holds(&v4, &flow(client, 1), 0), want, "{client}");
        }
        let v6 = between("2001:db8::ff", "2001:db8:0:1::");
        for (client, want) in [
            ("2001:db8::fe", false),
            ("2001:db8::ff", true),
            ("2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::", true),
            ("2001:db8:0:1::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(holds(&v6, &flow(client, 1), 0), want, "{client}");
        }
        let any = Condition::any(0);
        assert!(holds(&any, &flow("::", 0), 0));
        assert!(holds(&any, &flow("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65_535), 255));
    }

    #[test]
    fn a_port_lies_in_its_range() {
        let some = Condition { ports: 1024 | 2047 << 16, ..Condition::any(0) };
        for (port, want) in [(1023, false), (1024, true), (2047, true), (2048, false), (4, false)] {
            assert_eq!(holds(&some, &flow("192.0.2.1", port), 0), want, "{port}");
        }
    }

    #[test]
    fn tos_counts_under_its_mask() {
        let expedited = Condition { tos: 0xb8 | 0xfc << 8, ..Condition::any(0) };
        for (tos, want) in [(0xb8, true), (0xbb, true), (0xbc, false), (0, false)] {
            assert_eq!(holds(&expedited, &flow("192.0.2.1", 1), tos), want, "{tos:x}");
        }
    }
}
