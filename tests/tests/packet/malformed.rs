//! Truncated and contradictory headers: dropped if they are for a VIP, otherwise left alone.

use dispatcher_common::reason::Reason;
use dispatcher_tests::{
    case::Case,
    packet_builder::{At, PacketBuilder, SYN, eth, protocol::{self, HOP_BY_HOP}},
};

use crate::flows::Family;

type Break = fn(PacketBuilder) -> PacketBuilder;

const IPV4: [(&str, Break); 5] = [
    ("a header length of 16", |p| p.patch(At::L3, 0, &[0x44])),
    ("a header longer than the packet", |p| p.patch(At::L3, 0, &[0x4f])),
    ("a total length below the header's", |p| p.patch(At::L3, 2, &[0, 19])),
    ("a total length of 0", |p| p.patch(At::L3, 2, &[0, 0])),
    ("a total length beyond the frame", |p| p.patch(At::L3, 2, &[0x05, 0xdc])),
];

const IPV6: [(&str, Break); 2] = [
    ("a payload length beyond the frame", |p| p.patch(At::L3, 4, &[0x05, 0xdc])),
    ("a payload length of 0", |p| p.patch(At::L3, 4, &[0, 0])),
];

const TCP: [(&str, Break); 5] = [
    ("a frame that ends in the tcp header", |p| p.cut(At::L4, 19)),
    ("a frame that ends before the ports", |p| p.cut(At::L4, 3)),
    ("a frame that ends before the tcp header", |p| p.cut(At::L4, 0)),
    ("a tcp header of 16 bytes", |p| p.patch(At::L4, 12, &[0x40])),
    ("a tcp header longer than the packet", |p| p.patch(At::L4, 12, &[0xf0])),
];

const UDP: [(&str, Break); 5] = [
    ("a udp length of 0", |p| p.patch(At::L4, 4, &[0, 0])),
    ("a udp length of 7", |p| p.patch(At::L4, 4, &[0, 7])),
    ("a udp length beyond the packet", |p| p.patch(At::L4, 4, &[0, 9])),
    ("a frame that ends in the udp header", |p| p.cut(At::L4, 7)),
    ("a frame that ends before the udp header", |p| p.cut(At::L4, 0)),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let network = if f == Family::V4 { &IPV4[..] } else { &IPV6[..] };
        let (tcp, udp) = (f.tcp(1001, SYN), f.ip().udp(1001, 53));
        let mut cases = Vec::new();
        for (name, broken) in network {
            cases.push(dropped(f, name, vec![broken(tcp.clone()), broken(udp.clone())]));
        }
        for (name, broken) in TCP {
            let tagged = f.on(eth().vlan(7)).tcp(1001, 80, SYN);
            cases.push(dropped(f, name, vec![broken(tcp.clone()), broken(tagged)]));
        }
        for (name, broken) in UDP {
            let tagged = f.on(eth().vlan(7)).udp(1001, 53);
            cases.push(dropped(f, name, vec![broken(udp.clone()), broken(tagged)]));
        }
        for length in 0..20 {
            let short = |p: PacketBuilder, number| p.protocol(number).payload(&[0x50; 20][..length]);
            let (case, padded) = (format!("a packet of {length} transport bytes"), f.ip());
            let mut packets = vec![short(f.ip(), protocol::TCP)];
            packets.push(short(padded, protocol::TCP).cut(At::L2, 120));
            if length < 8 {
                packets.push(short(f.ip(), protocol::UDP));
                packets.push(short(f.ip(), protocol::UDP).cut(At::L2, 120));
            }
            cases.push(dropped(f, &case, packets));
        }
        cases.push(
            f.case("padding after a short packet is no part of it and stays")
                .opens(tcp.cut(At::L2, 120), f.web_slot(1))
                .opens(udp.clone().cut(At::L2, 90), f.dns_slot(1)),
        );
        cases.push(
            f.case("too short to tell")
                .leaves(udp.clone().cut(At::L3, 19), Reason::NotIp)
                .leaves(udp.clone().cut(At::L3, 1), Reason::NotIp)
                .leaves(udp.clone().cut(At::L3, 0), Reason::NotIp),
        );
        let other_version = if f == Family::V4 { 0x65 } else { 0x45 };
        cases.push(f.case("a version that is not the ethertype's").leaves(
            udp.patch(At::L3, 0, &[other_version]),
            Reason::NotIp,
        ));
        cases
    });
    let v6 = Family::V6;
    cases.push(
        v6.case("too short for a destination address")
            .leaves(v6.tcp(1001, SYN).cut(At::L3, 39), Reason::NotIp),
    );
    cases.push(dropped(
        v6,
        "a payload that ends in an extension header",
        vec![
            v6.ip().extension(HOP_BY_HOP, 8).tcp(1001, 80, SYN).patch(At::L3, 4, &[0, 7]),
            v6.ip().extension(HOP_BY_HOP, 8).tcp(1001, 80, SYN).patch(At::L3, 4, &[0, 1]),
        ],
    ));
    cases.push(
        v6.case("tags that are cut short")
            .leaves(eth().ethertype(0x8100).payload(&[0]), Reason::NotIp)
            .leaves(eth().vlan(7).ethertype(0x8100).payload(&[0, 7, 8]), Reason::NotIp),
    );
    cases
}

/// The packets are dropped as malformed; a frame to another MAC is not parsed.
fn dropped(f: Family, name: &str, packets: Vec<PacketBuilder>) -> Case {
    packets.into_iter().fold(f.case(name), |case, packet| {
        case.leaves(packet.clone(), Reason::Malformed)
            .leaves(packet.to([0x02, 0, 0, 0, 0xdd, 0x02]), Reason::NotOurs)
            .table(&[])
    })
}
