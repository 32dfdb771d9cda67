//! VLAN tags: up to two are parsed, none is changed.

use dispatcher_common::reason::Reason;
use dispatcher_tests::{case::Case, packet_builder::{ACK, SYN, eth}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let tagged = [
            ("one tag", eth().vlan(7)),
            ("a tag with priority bits", eth().tag(0x8100, 0xe007)),
            ("two tags", eth().vlan(7).vlan(8)),
            ("a service tag and a tag", eth().tag(0x88a8, 3).vlan(8)),
            ("a lone service tag", eth().tag(0x88a8, 3)),
        ];
        let mut cases = Vec::new();
        for (name, frame) in tagged {
            cases.push(
                f.case(name)
                    .opens(f.on(frame.clone()).tcp(1001, 80, SYN), f.web_slot(1))
                    .follows(f.on(frame.clone()).tcp(1001, 80, ACK), f.web_slot(1))
                    .opens(f.on(frame).udp(1001, 53), f.dns_slot(1)),
            );
        }
        let three = f.on(eth().vlan(7).vlan(8).vlan(9)).tcp(1001, 80, SYN);
        cases.push(f.case("three tags are left to the kernel").leaves(three, Reason::NotIp).table(&[]));
        cases
    })
}
