//! Packets that are not ours reach the kernel unchanged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dispatcher_common::reason::Reason;
use dispatcher_tests::{case::Case, datapath::{CLIENT, CLIENT6, VIP, VIP6}, packet_builder::{ACK, At, SYN, eth, protocol::ICMPV6}};

use crate::flows::Family;

const BROADCAST: [u8; 6] = [0xff; 6];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let other_mac = [0x02, 0, 0, 0, 0xdd, 0x02];
        let stranger: IpAddr = match f {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 81).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x81).into(),
        };
        vec![
            f.case("another address")
                .leaves(f.to_stranger().tcp(1001, 80, SYN), Reason::NotOurs)
                .leaves(f.to_stranger().udp(1001, 53), Reason::NotOurs)
                .leaves(f.to_stranger().tcp(1001, 80, ACK), Reason::NotOurs)
                .table(&[]),
            f.case("another address whose filter bit is set")
                .then(move |d| d.open_filter(stranger))
                .leaves(f.to_stranger().tcp(1001, 80, SYN), Reason::NotOurs)
                .leaves(f.to_stranger().tcp(1001, 80, ACK), Reason::NotOurs)
                .leaves(f.to_stranger().udp(1001, 53), Reason::NotOurs)
                .leaves(f.to_stranger().echo(), Reason::NotOurs)
                .leaves(f.to_stranger().protocol(47), Reason::NotOurs)
                .leaves(f.to_stranger().fragment(0, true).udp(1001, 53), Reason::NotOurs)
                .leaves(f.to_stranger().tcp(1001, 80, SYN).cut(At::L4, 7), Reason::NotOurs)
                .leaves(
                    f.to_stranger().tcp(1001, 80, SYN).patch(At::L4, 12, &[0x10]),
                    Reason::NotOurs,
                )
                .table(&[]),
            f.case("a frame to another mac")
                .leaves(f.on(eth().to(other_mac)).tcp(1001, 80, SYN), Reason::NotOurs)
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .leaves(f.on(eth().to(other_mac)).tcp(1001, 80, ACK), Reason::NotOurs),
            f.case("a broadcast frame")
                .leaves(f.on(eth().to(BROADCAST)).udp(1001, 53), Reason::NotOurs),
            f.case("a frame to a nearly equal mac")
                .leaves(
                    f.on(eth().to([0x03, 0, 0, 0, 0xdd, 0x01])).tcp(1001, 80, SYN),
                    Reason::NotOurs,
                )
                .leaves(
                    f.on(eth().to([0x02, 0, 0, 0, 0xdd, 0x00])).tcp(1001, 80, SYN),
                    Reason::NotOurs,
                ),
        ]
    });
    let neighbour_solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &VIP6.octets()].concat();
    let solicited_node = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x80);
    let v4 = Family::V4;
    cases.extend([
        v4.case("arp")
            .leaves(eth().to(BROADCAST).ethertype(0x0806).payload(&arp_request()), Reason::NotIp)
            .leaves(eth().ethertype(0x0806).payload(&arp_request()), Reason::NotIp)
            .leaves(eth().vlan(7).ethertype(0x0806).payload(&arp_request()), Reason::NotIp),
        v4.case("a neighbour solicitation for a vip").leaves(
            eth()
                .to([0x33, 0x33, 0xff, 0, 0, 0x80])
                .ipv6(CLIENT6, solicited_node)
                .protocol(ICMPV6)
                .payload(&neighbour_solicitation),
            Reason::NotOurs,
        ),
        v4.case("a neighbour solicitation to a vip, to see if it is still there")
            .leaves(
                eth().ipv6(CLIENT6, VIP6).protocol(ICMPV6).payload(&neighbour_solicitation),
                Reason::Icmp,
            ),
        v4.case("an ipv4 vip in an ipv6 header").leaves(
            eth().ipv6(CLIENT6, VIP.to_ipv6_mapped()).tcp(1001, 80, SYN),
            Reason::NotOurs,
        ),
        v4.case("other ethertypes")
            .leaves(eth().ethertype(0x88cc).payload(b"lldp"), Reason::NotIp)
            .leaves(eth().ethertype(0x8847).payload(&[0; 40]), Reason::NotIp)
            .leaves(eth().ethertype(0x0026).payload(&[0x42; 38]), Reason::NotIp),
        v4.case("from a vip")
            .leaves(eth().ipv4(VIP, CLIENT).tcp(80, 1001, ACK), Reason::NotOurs)
            .leaves(eth().ipv6(VIP6, CLIENT6).tcp(80, 1001, ACK), Reason::NotOurs),
    ]);
    cases
}

fn arp_request() -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0xaa, 1];
    arp.extend(CLIENT.octets());
    arp.extend([0; 6]);
    arp.extend(VIP.octets());
    arp
}
