//! Services on any address have the lowest precedence; packets to the host's own addresses, or to addresses of no host,
//! never reach them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    backend::{USABLE, UP},
    connection::State,
    net::{TCP, UDP},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::{CLIENT, CLIENT6, World, usable}, packet_builder::{ACK, At, FIN, PacketBuilder, SYN, eth}};

use crate::flows::Family;

/// A foreign address: no VIP, somewhere in the Internet.
fn foreign(f: Family) -> PacketBuilder {
    to(f, Ipv4Addr::new(203, 0, 113, 5), Ipv6Addr::new(0x2a00, 1, 0, 0, 0, 0, 0, 5))
}

fn to(f: Family, v4: Ipv4Addr, v6: Ipv6Addr) -> PacketBuilder {
    match f {
        Family::V4 => eth().ipv4(CLIENT, v4),
        Family::V6 => eth().ipv6(CLIENT6, v6),
    }
}

fn any(f: Family) -> IpAddr {
    match f {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The standard world plus services for all ports of its VIP (5), port 80 of any address (6), and all ports of any
/// address (7).
fn all(f: Family) -> World {
    World::standard()
        .service(5, f.vip(), 0, TCP, 1)
        .service(6, any(f), 80, TCP, 2)
        .service(7, any(f), 0, TCP, 2)
}

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| precedence(f).into_iter().chain(left_alone(f)).chain(life(f)).collect())
}

fn precedence(f: Family) -> Vec<Case> {
    let without_all_ports = World::standard().service(6, any(f), 80, TCP, 1).service(7, any(f), 0, TCP, 1);
    let one_port = World::standard().service(6, any(f), 80, TCP, 1);
    vec![
        f.case_in(all(f), "vip and port, all ports of the vip, any address and port, any address")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .opens(f.ip().tcp(1001, 81, SYN), 51)
            .opens(foreign(f).tcp(1001, 80, SYN), 61)
            .opens(foreign(f).tcp(1001, 81, SYN), 71)
            .opens(foreign(f).tcp(1002, 80, SYN), 62)
            .opens(foreign(f).tcp(1002, 443, SYN), 72)
            .follows(foreign(f).tcp(1001, 80, ACK), 61)
            .follows(foreign(f).tcp(1001, 81, ACK), 71),
        f.case_in(without_all_ports, "a vip's port without service goes to a service on any address")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .opens(f.ip().tcp(1001, 81, SYN), 71)
            .leaves(f.ip().udp(1001, 54), Reason::NoService),
        f.case_in(one_port, "one port of any address")
            .opens(foreign(f).tcp(1001, 80, SYN), 61)
            // Another port of a VIP has no service; on another address, the kernel may route it.
            .leaves(f.ip().tcp(1001, 81, SYN), Reason::NoService)
            .leaves(foreign(f).tcp(1001, 81, SYN), Reason::NotOurs)
            .leaves(foreign(f).tcp(1001, 81, ACK), Reason::NotOurs)
            .leaves(foreign(f).udp(1001, 80), Reason::NotOurs),
        f.case_in(World::empty().service(7, any(f), 0, UDP, 2), "one protocol of any address")
            .opens(foreign(f).udp(1001, 53), 71)
            .opens(foreign(f).udp(1001, 54), 72)
            .follows(foreign(f).udp(1001, 53), 71)
            .leaves(foreign(f).tcp(1001, 53, SYN), Reason::NotOurs),
        f.case_in(World::empty().service(7, any(other(f)), 0, TCP, 1), "any address of the other family")
            .leaves(foreign(f).tcp(1001, 80, SYN), Reason::NotOurs)
            .opens(foreign(other(f)).tcp(1001, 80, SYN), 71),
    ]
}

fn other(f: Family) -> Family {
    match f {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn left_alone(f: Family) -> Vec<Case> {
    let (own, own6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let mut world = all(f);
    // With `manage_vips` a VIP is also an address of the host; it stays a VIP.
    world.own_addresses = vec![own.into(), own6.into(), f.vip()];
    let own = |f| to(f, own, own6);
    let mut nobodys = f.case_in(all(f), "addresses that are no host's, or nobody else's");
    for (v4, v6) in [
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        (Ipv4Addr::new(0, 1, 2, 3), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0x0a00, 1)),
        (Ipv4Addr::new(127, 255, 255, 255), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(169, 254, 169, 254), Ipv6Addr::new(0xfebf, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(224, 0, 0, 1), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(239, 1, 2, 3), Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 1, 1)),
        (Ipv4Addr::new(240, 0, 0, 1), Ipv6Addr::new(0xffff, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::BROADCAST, Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2)),
    ] {
        nobodys = nobodys.leaves(to(f, v4, v6).tcp(1001, 80, SYN), Reason::NotOurs);
    }
    let mut somebodys = f.case_in(all(f), "addresses next to those");
    for (i, (v4, v6)) in (0..).zip([
        (Ipv4Addr::new(1, 0, 0, 0), Ipv6Addr::new(0, 0, 0, 0, 0, 1, 0, 0)),
        (Ipv4Addr::new(126, 255, 255, 255), Ipv6Addr::new(0xfe7f, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(128, 0, 0, 0), Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(169, 253, 0, 1), Ipv6Addr::new(0xfeff, 0, 0, 0, 0, 0, 0, 1)),
        (Ipv4Addr::new(169, 255, 0, 1), Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 1, 1)),
        (Ipv4Addr::new(223, 255, 255, 255), Ipv6Addr::new(1, 0, 0, 0, 0, 0, 0, 0)),
    ]) {
        somebodys = somebodys.opens(to(f, v4, v6).tcp(1001, 80, SYN), 61 + i % 2);
    }
    vec![
        f.case_in(world, "the host's own addresses")
            .leaves(own(f).tcp(1001, 22, SYN), Reason::NotOurs)
            .leaves(own(f).tcp(1001, 80, SYN), Reason::NotOurs)
            .leaves(own(f).tcp(1001, 22, ACK), Reason::NotOurs)
            .leaves(own(f).udp(1001, 53), Reason::NotOurs)
            .leaves(own(f).echo(), Reason::NotOurs)
            .leaves(own(f).fragment(0, true).tcp(1001, 22, SYN), Reason::NotOurs)
            .leaves(own(f).fragment(185, false).protocol(TCP).payload(&[0; 64]), Reason::NotOurs)
            .table(&[])
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .opens(f.ip().tcp(1001, 81, SYN), 51),
        nobodys.table(&[]),
        somebodys,
        f.case_in(all(f), "what services on any address do not take is the kernel's")
            .leaves(foreign(f).udp(1001, 53), Reason::NotOurs)
            .leaves(foreign(f).echo(), Reason::NotOurs)
            .leaves(foreign(f).protocol(47), Reason::NotOurs)
            .leaves(foreign(f).fragment(185, false).protocol(TCP).payload(&[0; 64]), Reason::NotOurs)
            .leaves(foreign(f).tcp(1001, 80, SYN).cut(At::L4, 7), Reason::NotOurs)
            .table(&[]),
        f.case_in(all(f), "a frame to another mac").leaves(
            match f {
                Family::V4 => eth().to([2, 0, 0, 0, 0xdd, 2]).ipv4(CLIENT, Ipv4Addr::new(203, 0, 113, 5)),
                Family::V6 => eth()
                    .to([2, 0, 0, 0, 0xdd, 2])
                    .ipv6(CLIENT6, Ipv6Addr::new(0x2a00, 1, 0, 0, 0, 0, 0, 5)),
            }
            .tcp(1001, 80, SYN),
            Reason::NotOurs,
        ),
    ]
}

/// Connections live and end like those of other services.
fn life(f: Family) -> Vec<Case> {
    let quote = |f: Family| match f {
        Family::V4 => eth().ipv4(Ipv4Addr::new(203, 0, 113, 5), CLIENT),
        Family::V6 => eth().ipv6(Ipv6Addr::new(0x2a00, 1, 0, 0, 0, 0, 0, 5), CLIENT6),
    };
    let kind = if f == Family::V4 { 3 } else { 1 };
    vec![
        f.case_in(all(f), "a connection from its syn to its end")
            .opens(foreign(f).tcp(1001, 80, SYN), 61)
            .table(&[(State::HalfOpen, 61)])
            .follows(foreign(f).tcp(1001, 80, ACK), 61)
            .follows(foreign(f).fragment(0, true).tcp(1001, 80, ACK), 61)
            .follows(foreign(f).fragment(185, false).protocol(TCP).payload(&[0; 64]), 61)
            .follows(
                foreign(f).icmp(kind, 1, 0).quoting(quote(f).tcp(80, 1001, ACK), 1000),
                61,
            )
            .table(&[(State::Established, 61)])
            .follows(foreign(f).tcp(1001, 80, FIN | ACK), 61)
            .table(&[(State::Closing, 61)])
            .leaves(foreign(f).tcp(1002, 80, ACK), Reason::OrphanAck)
            .of_service(6),
        f.case_in(all(f), "a backend that goes down")
            .opens(foreign(f).tcp(1001, 80, SYN), 61)
            .follows(foreign(f).tcp(1001, 80, ACK), 61)
            .then(|d| {
                let mut backend = usable(61, 6);
                backend.flags &= !(USABLE | UP);
                d.set_backend(&backend)
            })
            .leaves(foreign(f).tcp(1001, 80, ACK), Reason::BackendDown)
            .of_service(6),
    ]
}
