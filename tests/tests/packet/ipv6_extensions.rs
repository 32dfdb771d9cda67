//! IPv6 extension headers: skipped up to a bound, and left unchanged.

use dispatcher_common::{limits::MAX_IPV6_EXT_HEADERS, reason::Reason};
use dispatcher_tests::{
    case::Case,
    packet_builder::{
        ACK, PacketBuilder, SYN,
        protocol::{
            AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, NO_NEXT, ROUTING, TCP,
        },
    },
};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let f = Family::V6;
    let walked = [
        ("hop-by-hop options", f.ip().extension(HOP_BY_HOP, 8)),
        ("long destination options", f.ip().extension(DESTINATION_OPTIONS, 264)),
        ("a routing header", f.ip().extension(ROUTING, 24)),
        ("an authentication header", f.ip().extension(AUTHENTICATION, 12)),
        (
            "several extension headers",
            f.ip()
                .extension(HOP_BY_HOP, 16)
                .extension(DESTINATION_OPTIONS, 8)
                .extension(ROUTING, 8)
                .extension(DESTINATION_OPTIONS, 24),
        ),
        ("as many as are walked", many(MAX_IPV6_EXT_HEADERS)),
    ];
    let mut cases: Vec<Case> = walked
        .into_iter()
        .map(|(name, ip)| {
            f.case(name)
                .opens(ip.clone().tcp(1001, 80, SYN), 21)
                .follows(ip.clone().tcp(1001, 80, ACK), 21)
                .follows(f.tcp(1001, ACK), 21)
                .opens(ip.udp(1001, 53).payload(b"query"), 41)
        })
        .collect();
    cases.extend([
        f.case("one more than are walked")
            .leaves(many(MAX_IPV6_EXT_HEADERS + 1).tcp(1001, 80, SYN), Reason::ExtensionHeaders)
            .table(&[]),
        f.case("no next header").leaves(f.ip().protocol(NO_NEXT), Reason::OtherProtocol),
        f.case("no next header behind options").leaves(
            f.ip().extension(HOP_BY_HOP, 8).protocol(NO_NEXT).payload(b"ignored"),
            Reason::OtherProtocol,
        ),
        f.case("an extension header that is cut short")
            .leaves(f.ip().protocol(HOP_BY_HOP).payload(&[TCP]), Reason::Malformed),
        f.case("an extension header longer than the packet").leaves(
            f.ip().protocol(DESTINATION_OPTIONS).payload(&[TCP, 9, 1, 4, 0, 0, 0, 0]),
            Reason::Malformed,
        ),
    ]);
    cases
}

fn many(headers: u32) -> PacketBuilder {
    (0..headers).fold(Family::V6.ip(), |ip, _| ip.extension(DESTINATION_OPTIONS, 8))
}
