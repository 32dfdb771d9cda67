//! Fragments: for now those of TCP and UDP to a VIP are dropped, all others left alone.

use dispatcher_common::reason::Reason;
use dispatcher_tests::{
    case::Case,
    packet_builder::{
        At, SYN,
        protocol::{DESTINATION_OPTIONS, GRE, UDP},
    },
};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let fragments = [("first", 0, true), ("middle", 185, true), ("last", 370, false)];
        let mut cases = Vec::new();
        for (which, offset, more) in fragments {
            let frame = f.ip().fragment(offset, more);
            let stranger = f.to_stranger().fragment(offset, more);
            cases.push(
                f.case(&format!("the {which} fragment"))
                    .leaves(frame.clone().udp(1001, 53).payload(&[7; 64]), Reason::Fragment)
                    .leaves(frame.clone().tcp(1001, 80, SYN), Reason::Fragment)
                    .leaves(frame.clone().udp(1001, 9), Reason::Fragment)
                    .leaves(frame.clone().echo(), Reason::Icmp)
                    .leaves(frame.protocol(GRE), Reason::OtherProtocol)
                    .leaves(stranger.udp(1001, 53), Reason::NotOurs)
                    .table(&[]),
            );
        }
        cases.push(
            f.case("a fragment of an existing flow")
                .opens(f.udp(1001), f.dns_slot(1))
                .leaves(f.ip().fragment(0, true).udp(1001, 53), Reason::Fragment)
                .leaves(f.ip().fragment(2, false).udp(1001, 53), Reason::Fragment)
                .follows(f.udp(1001), f.dns_slot(1)),
        );
        cases.push(
            f.case("a fragment too short for a transport header").leaves(
                f.ip().fragment(185, false).protocol(UDP).payload(&[1, 2, 3]),
                Reason::Fragment,
            ),
        );
        cases
    });
    let f = Family::V6;
    let short = f.ip().fragment(0, true).udp(1001, 53).patch(At::L3, 4, &[0, 7]);
    cases.extend([
        f.case("a fragment header that reaches into padding is none")
            .leaves(short.cut(At::L2, 120), Reason::Malformed),
        f.case("an atomic fragment is a whole packet")
            .opens(f.ip().fragment(0, false).tcp(1001, 80, SYN), 21)
            .repeats(f.tcp(1001, SYN), 21),
        f.case("a fragment behind destination options").leaves(
            f.ip().extension(DESTINATION_OPTIONS, 8).fragment(0, true).udp(1001, 53),
            Reason::Fragment,
        ),
    ]);
    cases
}
