//! Frames that no socket makes: VLAN tags, IPv4 options, IPv6 extension headers. They arrive as they were sent.

use anyhow::{Context as _, Result};
use dispatcher_lab::{Node, VIP4, VIP6};
use dispatcher_tests::packet_builder::{ACK, PacketBuilder, SYN, eth, protocol};

use crate::common::{Web, hex};

fn mac_bytes(text: &str) -> Vec<u8> {
    text.split(':').map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal")).collect()
}

/// Every kind of frame, each as a SYN and an ACK of one connection. The first byte of the source port is the case's
/// number.
fn cases(client: &Node, to: [u8; 6]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let v4 = |b: PacketBuilder| b.to(to).ipv4(client.v4(), VIP4);
    let v6 = |b: PacketBuilder| b.to(to).ipv6(client.v6(), VIP6);
    let record_route = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    let kinds: Vec<(&str, PacketBuilder)> = vec![
        ("plain ipv4", v4(eth())),
        ("plain ipv6", v6(eth())),
        ("ipv4 in a vlan", v4(eth().vlan(100))),
        ("ipv6 in a vlan", v6(eth().vlan(100))),
        ("ipv4 in two tags", v4(eth().tag(0x88a8, 7).vlan(100))),
        ("ipv6 in two tags", v6(eth().tag(0x88a8, 7).vlan(100))),
        ("ipv4 options", v4(eth()).options(&record_route)),
        ("ipv4 options in a vlan", v4(eth().vlan(5)).options(&record_route)),
        ("hop-by-hop options", v6(eth()).extension(protocol::HOP_BY_HOP, 8)),
        ("destination options", v6(eth()).extension(protocol::DESTINATION_OPTIONS, 16)),
        (
            "two extension headers in a vlan",
            v6(eth().vlan(9))
                .extension(protocol::HOP_BY_HOP, 8)
                .extension(protocol::DESTINATION_OPTIONS, 8),
        ),
    ];
    kinds
        .into_iter()
        .enumerate()
        .map(|(i, (name, builder))| {
            let port = 10_000 + i as u16;
            let frames = [(SYN, &b""[..]), (ACK, b"what a wonderful day to be sent as it is")];
            let frames = frames
                .map(|(flags, payload)| builder.clone().tcp(port, 80, flags).payload(payload))
                .map(|builder| builder.build().bytes);
            (name, frames.to_vec())
        })
        .collect()
}

#[test]
fn tagged_and_extended_packets_of_both_families_arrive_unchanged() -> Result<()> {
    let Some(web) = Web::start("wire", &[1])? else { return Ok(()) };
    let (client, backend) = (web.lab.client(), &web.lab.backends[0]);
    let to = mac_bytes(&web.lab.lb.mac()).try_into().ok().context("six bytes")?;
    let (from, backend_mac) = (mac_bytes(&web.lab.lb.mac()), mac_bytes(&backend.mac()));
    // A sender's tags must be in the frame, not in metadata: see the laboratory's note on offloads.
    client.run("ethtool -K eth0 txvlan off")?;
    for (name, frames) in cases(client, to) {
        let filter = format!("ether src {}", web.lab.lb.mac());
        let arrived = backend.capture("eth0", &filter)?;
        client.send_frames("eth0", &frames)?;
        let arrived = arrived.stop()?;
        // ARP requests and neighbour solicitations of the dispatcher come from the same MAC. None is longer than 60
        // bytes above L2 with these addresses, and none has the frames' bytes.
        for sent in &frames {
            let found = arrived.iter().find(|frame| frame[12..].starts_with(&sent[12..]));
            let found = found.with_context(|| {
                let seen: Vec<_> = arrived.iter().map(|frame| hex(frame)).collect();
                format!("{name}: not arrived as sent: {}; arrived: {seen:?}", hex(sent))
            })?;
            assert_eq!(hex(&found[..6]), hex(&backend_mac), "{name}");
            assert_eq!(hex(&found[6..12]), hex(&from), "{name}");
        }
    }
    Ok(())
}
