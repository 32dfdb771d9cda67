//! ICMP and other protocols to a VIP go to the kernel, except errors that quote a packet of a connection.

use std::net::{Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    backend::{LOCAL, NEW, PRESENT, UP, USABLE},
    connection::State::{Closing, Established, HalfOpen},
    reason::Reason,
};
use dispatcher_tests::{
    case::Case,
    datapath::{CLIENT, CLIENT6, Interface, VIP, VIP6, World, usable},
    packet_builder::{
        ACK, At, FIN, PacketBuilder, SYN, eth,
        protocol::{DESTINATION_OPTIONS, GRE, HOP_BY_HOP, ICMP, ICMPV6},
    },
};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let parts = [kernels(f), errors(f), quotes(f), backends(f)];
        parts.into_iter().flatten().collect()
    });
    let (v4, v6) = (Family::V4, Family::V6);
    cases.extend([
        v6.case("echo behind options")
            .leaves(v6.ip().extension(HOP_BY_HOP, 8).echo(), Reason::Icmp),
        v4.case("icmpv6 in ipv4 is no icmp")
            .leaves(v4.ip().protocol(ICMPV6).payload(&[128, 0, 0, 0]), Reason::OtherProtocol),
        v6.case("icmp in ipv6 is no icmp")
            .leaves(v6.ip().protocol(ICMP).payload(&[8, 0, 0, 0]), Reason::OtherProtocol),
        v6.case("an error behind options")
            .opens(v6.tcp(1001, SYN), v6.web_slot(1))
            .follows(
                v6.ip().extension(HOP_BY_HOP, 16).icmp(2, 0, 1400).quoting(answer(v6), 200),
                v6.web_slot(1),
            ),
        v4.case("an error with options")
            .opens(v4.tcp(1001, SYN), v4.web_slot(1))
            .follows(
                v4.ip().options(&[1; 8]).icmp(3, 4, 1400).quoting(answer(v4), 200),
                v4.web_slot(1),
            ),
    ]);
    cases
}

/// From the VIP to the client.
fn back(f: Family) -> PacketBuilder {
    match f {
        Family::V4 => eth().ipv4(VIP, CLIENT),
        Family::V6 => eth().ipv6(VIP6, CLIENT6),
    }
}

/// A packet that the web server sends to the client's port 1001.
fn answer(f: Family) -> PacketBuilder {
    back(f).tcp(80, 1001, ACK).payload(&[b'x'; 1400])
}

/// A router's error: the packet is too big.
fn too_big(f: Family) -> PacketBuilder {
    match f {
        Family::V4 => f.ip().icmp(3, 4, 1400),
        Family::V6 => f.ip().icmp(2, 0, 1400),
    }
}

/// Messages that the kernel answers, or nobody.
fn kernels(f: Family) -> Vec<Case> {
    vec![
        f.case("echo to a vip").leaves(f.ip().echo().payload(b"ping"), Reason::Icmp),
        f.case("echo to a vip behind tags")
            .leaves(f.on(eth().vlan(7).vlan(8)).echo(), Reason::Icmp),
        f.case("echo to somebody else").leaves(f.to_stranger().echo(), Reason::NotOurs),
        f.case("an error to somebody else")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .leaves(f.to_stranger().icmp(3, 0, 0).quoting(answer(f), 200), Reason::NotOurs),
        f.case("gre to a vip")
            .leaves(f.ip().protocol(GRE).payload(&[0; 24]), Reason::OtherProtocol),
        f.case("sctp to a vip")
            .leaves(f.ip().protocol(132).payload(&[0; 24]), Reason::OtherProtocol),
    ]
}

/// Messages that follow a connection without changing it.
fn errors(f: Family) -> Vec<Case> {
    let (errors, others): (&[u8], &[u8]) = match f {
        Family::V4 => (&[3, 11, 12], &[0, 4, 5, 8, 13, 35, 43]),
        Family::V6 => (&[1, 2, 3, 4], &[0, 5, 33, 34, 36, 127, 128, 129, 135, 136]),
    };
    let mut all = f
        .case("errors go to the backend of the connection that they quote")
        .opens(f.tcp(1000, SYN), f.web_slot(1))
        .opens(f.tcp(1001, SYN), f.web_slot(2))
        .opens(f.udp(1001), f.dns_slot(1));
    for kind in errors {
        let error = |answer| f.ip().icmp(*kind, 1, 0).quoting(answer, 200);
        all = all
            .follows(error(answer(f)), f.web_slot(2))
            .follows(error(back(f).udp(53, 1001)), f.dns_slot(1));
    }
    for kind in others {
        all = all.leaves(f.ip().icmp(*kind, 1, 0).quoting(answer(f), 200), Reason::Icmp);
    }
    vec![
        all.table(&[
            (HalfOpen, f.web_slot(1)),
            (HalfOpen, f.web_slot(2)),
            (HalfOpen, f.dns_slot(1)),
        ]),
        f.case("errors leave established and closing connections as they are")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .follows(f.tcp(1001, ACK), f.web_slot(1))
            .follows(too_big(f).quoting(answer(f), 200), f.web_slot(1))
            .table(&[(Established, f.web_slot(1))])
            .follows(f.tcp(1001, FIN | ACK), f.web_slot(1))
            .follows(too_big(f).quoting(answer(f), 200), f.web_slot(1))
            .table(&[(Closing, f.web_slot(1))]),
        f.case("an error behind tags")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .follows(
                f.on(eth().vlan(7).vlan(8)).icmp(3, 1, 0).quoting(answer(f), 200),
                f.web_slot(1),
            ),
        f.case("an error in fragments")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .leaves(
                f.ip().fragment(0, true).icmp(3, 1, 0).quoting(answer(f), 200),
                Reason::Icmp,
            )
            .leaves(f.ip().fragment(9, false).icmp(3, 1, 0), Reason::Icmp),
    ]
}

/// The part of a packet that must be quoted.
fn quotes(f: Family) -> Vec<Case> {
    let with = |quote: PacketBuilder| too_big(f).quoting(quote, 200);
    let to_vip = f.tcp(1001, ACK);
    let (other_vip, extended) = match f {
        Family::V4 => (
            eth().ipv4(Ipv4Addr::new(192, 0, 2, 81), CLIENT),
            back(f).options(&[1; 40]),
        ),
        Family::V6 => (
            eth().ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x81), CLIENT6),
            back(f).extension(HOP_BY_HOP, 8).extension(DESTINATION_OPTIONS, 264),
        ),
    };
    let opened = |name: &str| f.case(name).opens(f.tcp(1001, SYN), f.web_slot(1));
    // Enough to include the ports.
    let needed = if f == Family::V4 { 24 } else { 44 };
    let mut short = opened("an error that quotes too little");
    for length in 0..needed {
        let error = too_big(f).quoting(answer(f), length);
        short = short.leaves(error.clone(), Reason::Icmp).leaves(error.cut(At::L2, 300), Reason::Icmp);
    }
    let long_enough = |length| too_big(f).quoting(answer(f), length);
    vec![
        short.follows(long_enough(needed), f.web_slot(1)),
        opened("an error that quotes 8 bytes of the segment")
            .follows(long_enough(needed + 4), f.web_slot(1)),
        opened("a message cut short").leaves(too_big(f).cut(At::L4, 5), Reason::Malformed),
        opened("an error without a connection")
            .leaves(with(back(f).tcp(80, 1002, ACK)), Reason::Icmp)
            .leaves(with(back(f).tcp(81, 1001, ACK)), Reason::Icmp)
            .leaves(with(back(f).udp(80, 1001)), Reason::Icmp),
        opened("an error that quotes a packet to the vip").leaves(with(to_vip), Reason::Icmp),
        opened("an error that quotes another vip's packet")
            .leaves(with(other_vip.tcp(80, 1001, ACK)), Reason::Icmp),
        opened("an error that quotes neither tcp nor udp")
            .leaves(with(back(f).echo()), Reason::Icmp)
            .leaves(with(back(f).protocol(GRE)), Reason::Icmp),
        opened("an error that quotes another version").leaves(
            too_big(f).quoting(answer(f), 200).patch(
                At::L4,
                8,
                &[if f == Family::V4 { 0x65 } else { 0x45 }],
            ),
            Reason::Icmp,
        ),
        opened("options or extension headers are quoted")
            .follows(too_big(f).quoting(extended.tcp(80, 1001, ACK), 400), f.web_slot(1)),
        opened("fragments are quoted: only the first has ports")
            .follows(with(back(f).fragment(0, true).tcp(80, 1001, ACK)), f.web_slot(1))
            .leaves(with(back(f).fragment(3, true).tcp(80, 1001, ACK)), Reason::Icmp),
    ]
}

/// Effects of the backend's state and place.
fn backends(f: Family) -> Vec<Case> {
    let slot = f.web_slot(1);
    let local = World::standard().backend(slot, |b| b.flags |= LOCAL);
    let mut behind_nic = World::standard().backend(slot, |b| b.interface = 1);
    behind_nic.interfaces.push(Interface { index: 1, mac: [2, 0, 0, 0, 0xdd, 2], ifindex: 1, mtu: 0 });
    let error = || too_big(f).quoting(answer(f), 200);
    let with_flags = move |flags| {
        let mut backend = usable(slot, f.web());
        backend.flags = flags;
        backend
    };
    vec![
        f.case_in(local, "an error for a backend on this host")
            .opens(f.tcp(1001, SYN), slot)
            .by(Reason::Local)
            .follows(error(), slot)
            .by(Reason::Local),
        f.case_in(behind_nic, "an error for a backend behind another nic")
            .opens(f.tcp(1001, SYN), slot)
            .by(Reason::Redirected)
            .follows(error(), slot)
            .by(Reason::Redirected),
        f.case("an error for a backend that is down")
            .opens(f.tcp(1001, SYN), slot)
            .then(move |d| d.set_backend(&with_flags(PRESENT)))
            .leaves(error(), Reason::BackendDown)
            .of_service(f.web())
            .then(move |d| d.set_backend(&with_flags(PRESENT | USABLE | UP | NEW)))
            .follows(error(), slot),
    ]
}
