//! ICMP and other protocols to a VIP: the kernel's.

use dispatcher_common::reason::Reason;
use dispatcher_tests::{
    case::Case,
    packet_builder::{
        At, eth,
        protocol::{GRE, HOP_BY_HOP, ICMP, ICMPV6},
    },
};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        vec![
            f.case("echo to a vip").leaves(f.ip().echo().payload(b"ping"), Reason::Icmp),
            f.case("echo to a vip behind tags")
                .leaves(f.on(eth().vlan(7).vlan(8)).echo(), Reason::Icmp),
            f.case("an icmp error to a vip")
                .leaves(f.ip().echo().patch(At::L4, 0, &[3, 4]), Reason::Icmp),
            f.case("echo to somebody else").leaves(f.to_stranger().echo(), Reason::NotOurs),
            f.case("gre to a vip")
                .leaves(f.ip().protocol(GRE).payload(&[0; 24]), Reason::OtherProtocol),
            f.case("sctp to a vip")
                .leaves(f.ip().protocol(132).payload(&[0; 24]), Reason::OtherProtocol),
        ]
    });
    let (v4, v6) = (Family::V4, Family::V6);
    cases.extend([
        v6.case("echo behind options")
            .leaves(v6.ip().extension(HOP_BY_HOP, 8).echo(), Reason::Icmp),
        v4.case("icmpv6 in ipv4 is no icmp")
            .leaves(v4.ip().protocol(ICMPV6).payload(&[128, 0, 0, 0]), Reason::OtherProtocol),
        v6.case("icmp in ipv6 is no icmp")
            .leaves(v6.ip().protocol(ICMP).payload(&[8, 0, 0, 0]), Reason::OtherProtocol),
    ]);
    cases
}
