//! Compares the builder with an independent parser.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

use super::*;

const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

#[test]
fn a_tagged_ipv4_tcp_frame_parses_with_right_lengths_and_checksums() {
    let packet = eth()
        .tag(0x88a8, 3)
        .vlan(7)
        .ipv4(CLIENT, VIP)
        .options(&[7, 4, 4])
        .tcp(40_000, 80, SYN)
        .tcp_options(&[2, 4, 5, 0xb4])
        .payload(b"odd")
        .build();
    let parsed = PacketHeaders::from_ethernet_slice(&packet.bytes).unwrap();
    assert_eq!(parsed.vlan_ids().iter().map(|id| id.value()).collect::<Vec<_>>(), [3, 7]);
    let Some(NetHeaders::Ipv4(ip, _)) = &parsed.net else { panic!("not IPv4") };
    assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
    assert_eq!((ip.options.len(), packet.l3, packet.l4 - packet.l3), (4, 22, 24));
    let Some(TransportHeader::Tcp(tcp)) = &parsed.transport else { panic!("not TCP") };
    assert!(tcp.syn && !tcp.ack && tcp.destination_port == 80);
    assert_eq!(tcp.calc_checksum_ipv4(ip, parsed.payload.slice()).unwrap(), tcp.checksum);
    assert_eq!(parsed.payload.slice(), b"odd");
}

#[test]
fn an_ipv6_udp_frame_behind_extension_headers_parses() {
    let packet = eth()
        .ipv6(v6(7), v6(80))
        .extension(protocol::HOP_BY_HOP, 8)
        .extension(protocol::DESTINATION_OPTIONS, 16)
        .extension(protocol::AUTHENTICATION, 12)
        .udp(5_000, 53)
        .payload(b"query")
        .build();
    let parsed = PacketHeaders::from_ethernet_slice(&packet.bytes).unwrap();
    let Some(NetHeaders::Ipv6(ip, extensions)) = &parsed.net else { panic!("not IPv6") };
    assert_eq!(extensions.header_len(), 36);
    let Some(TransportHeader::Udp(udp)) = &parsed.transport else { panic!("not UDP") };
    assert_eq!(udp.calc_checksum_ipv6(ip, parsed.payload.slice()).unwrap(), udp.checksum);
    assert_eq!(packet.l4 - packet.l3, 76);
}

#[test]
fn fragments_of_both_families_parse_as_such() {
    for packet in [
        eth().ipv4(CLIENT, VIP).fragment(3, true).udp(1, 2).build(),
        eth().ipv6(v6(7), v6(80)).fragment(3, true).udp(1, 2).build(),
    ] {
        let parsed = PacketHeaders::from_ethernet_slice(&packet.bytes).unwrap();
        let fragmented = match parsed.net.unwrap() {
            NetHeaders::Ipv4(ip, _) => ip.is_fragmenting_payload(),
            NetHeaders::Ipv6(_, extensions) => extensions.is_fragmenting_payload(),
            other => panic!("not IP: {other:?}"),
        };
        assert!(fragmented);
    }
}

#[test]
fn patches_and_cuts_count_from_their_header() {
    let packet = eth().vlan(1).ipv4(CLIENT, VIP).tcp(1, 2, ACK).patch(At::L3, 0, &[0x4f]);
    let packet = packet.cut(At::L4, 5).build();
    assert_eq!((packet.bytes[18], packet.bytes.len()), (0x4f, 18 + 20 + 5));
    assert_eq!(eth().ipv4(CLIENT, VIP).udp(1, 2).cut(At::L2, 60).build().bytes.len(), 60);
}
