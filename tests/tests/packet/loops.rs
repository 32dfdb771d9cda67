//! Frames that come back from the backend to which they would go.

use anyhow::Result;
use dispatcher_common::{
    backend::{LOCAL, NEW, PRESENT, UP, USABLE},
    connection::State::{Closing, Established, HalfOpen},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::{Datapath, Interface, World, usable}, packet_builder::{ACK, Mac, PacketBuilder, RST, SYN, eth}};

use crate::flows::Family;

const SECOND_NIC: Mac = [0x02, 0, 0, 0, 0xdd, 0x02];

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| [nobody(f), local(f), others(f), followers(f)].into_iter().flatten().collect())
}

/// A frame from the backend in this slot, with these tags.
fn from(slot: u16, service: u32, tags: u16) -> PacketBuilder {
    (0..tags).fold(eth().from(usable(slot, service).mac), PacketBuilder::vlan)
}

fn tcp(f: Family, slot: u16, flags: u8) -> PacketBuilder {
    f.on(from(slot, f.web(), 0)).tcp(1001, 80, flags)
}

fn udp(f: Family, slot: u16) -> PacketBuilder {
    f.on(from(slot, f.dns(), 0)).udp(1001, 53).payload(b"query")
}

/// Two backends on other hosts, and one here.
fn with_local() -> World {
    [1, 2, 3, 4].into_iter().fold(World::standard(), |w, id| w.local(id, id as u16 * 10 + 3))
}

fn set_local(f: Family, flags: u8) -> impl Fn(&mut Datapath) -> Result<()> {
    move |datapath| {
        let mut backend = usable(f.web_slot(3), f.web());
        (backend.flags, backend.mac) = (flags, [0; 6]);
        datapath.set_backend(&backend)
    }
}

/// No backend is on this host.
fn nobody(f: Family) -> Vec<Case> {
    let slot = f.web_slot(1);
    let mut behind = World::standard().backend(slot, |b| b.interface = 1);
    behind.interfaces.push(Interface { index: 1, mac: SECOND_NIC, ifindex: 1, mtu: 0 });
    vec![
        f.case("a new connection is dropped, and not entered")
            .leaves(tcp(f, slot, SYN), Reason::Loop)
            .of_service(f.web())
            .leaves(udp(f, f.dns_slot(1)), Reason::Loop)
            .of_service(f.dns())
            .table(&[]),
        f.case("a known connection's packets are dropped, and it stays")
            .opens(f.tcp(1001, SYN), slot)
            .leaves(tcp(f, slot, SYN), Reason::Loop)
            .of_service(f.web())
            .follows(f.tcp(1001, ACK), slot)
            .leaves(tcp(f, slot, ACK), Reason::Loop)
            .of_service(f.web())
            .follows(f.tcp(1001, ACK), slot)
            .opens(f.udp(1001), f.dns_slot(1))
            .follows(f.udp(1001), f.dns_slot(1))
            .leaves(udp(f, f.dns_slot(1)), Reason::Loop)
            .of_service(f.dns())
            .table(&[(Established, slot), (Established, f.dns_slot(1))]),
        f.case("behind tags")
            .opens(f.tcp(1001, SYN), slot)
            .leaves(f.on(from(slot, f.web(), 2)).tcp(1001, 80, ACK), Reason::Loop)
            .of_service(f.web()),
        f.case_in(behind, "by another nic than that to which it would go")
            .leaves(tcp(f, slot, SYN), Reason::Loop)
            .of_service(f.web()),
    ]
}

/// The dispatcher's host is a backend, too.
fn local(f: Family) -> Vec<Case> {
    let (slot, here) = (f.web_slot(1), f.web_slot(3));
    let own = PRESENT | USABLE | UP | LOCAL;
    vec![
        f.case_in(with_local(), "a new connection is the local backend's")
            .opens(tcp(f, slot, SYN), here)
            .by(Reason::Local)
            .follows(tcp(f, slot, ACK), here)
            .by(Reason::Local)
            .opens(udp(f, f.dns_slot(1)), f.dns_slot(3))
            .by(Reason::Local)
            .table(&[(HalfOpen, f.dns_slot(3)), (Established, here)]),
        f.case_in(with_local(), "a known connection stays, and what comes back goes here")
            .opens(f.tcp(1001, SYN), slot)
            .follows(f.tcp(1001, ACK), slot)
            .follows(tcp(f, slot, ACK), here)
            .by(Reason::Local)
            .follows(f.tcp(1001, ACK), slot)
            .follows(tcp(f, slot, ACK | RST), here)
            .by(Reason::Local)
            .table(&[(Closing, slot)]),
        f.case_in(with_local(), "a local backend that takes nothing new still gets what comes back")
            .then(set_local(f, own))
            .opens(tcp(f, slot, SYN), here)
            .by(Reason::Local),
        f.case_in(with_local(), "a local backend that is down gets nothing")
            .then(set_local(f, PRESENT | LOCAL))
            .leaves(tcp(f, slot, SYN), Reason::Loop)
            .of_service(f.web())
            .then(set_local(f, PRESENT | USABLE | LOCAL))
            .leaves(tcp(f, f.web_slot(2), SYN), Reason::Loop)
            .of_service(f.web())
            .then(set_local(f, own | NEW))
            .opens(tcp(f, slot, SYN), here)
            .by(Reason::Local),
        f.case_in(with_local(), "a slot that was given away is not the local backend")
            .then(move |d| {
                let mut backend = usable(here, f.dns());
                backend.flags |= LOCAL;
                d.set_backend(&backend)
            })
            .leaves(tcp(f, slot, SYN), Reason::Loop)
            .of_service(f.web()),
    ]
}

/// A frame from a backend other than the chosen one is treated like a client's.
fn others(f: Family) -> Vec<Case> {
    vec![
        f.case("from another backend of the service")
            .opens(tcp(f, f.web_slot(2), SYN), f.web_slot(1))
            .follows(tcp(f, f.web_slot(2), ACK), f.web_slot(1)),
        f.case("from the backend of another service")
            .opens(f.on(from(f.dns_slot(1), f.dns(), 0)).tcp(1001, 80, SYN), f.web_slot(1)),
    ]
}

/// Packets that follow a connection do so here, too.
fn followers(f: Family) -> Vec<Case> {
    let slot = f.dns_slot(1);
    let first = |frame| f.on(frame).fragment(0, true).id(7).udp(1001, 53).payload(&[7; 64]);
    let later = |frame| f.on(frame).fragment(9, false).id(7).protocol(17).payload(&[7; 64]);
    let back = || from(slot, f.dns(), 0);
    let quoted = f.reply().udp(53, 1001).payload(b"answer");
    let error = |frame| match f {
        Family::V4 => f.on(frame).icmp(3, 4, 1400).quoting(quoted.clone(), 100),
        Family::V6 => f.on(frame).icmp(2, 0, 1400).quoting(quoted.clone(), 100),
    };
    let cut = |packet: PacketBuilder| packet.patch(dispatcher_tests::packet_builder::At::L4, 4, &[1, 0]);
    vec![
        f.case("fragments")
            .opens(cut(first(eth())), slot)
            .leaves(cut(first(back())), Reason::Loop)
            .of_service(f.dns())
            .follows(later(eth()), slot)
            .leaves(later(back()), Reason::Loop)
            .of_service(f.dns()),
        f.case_in(with_local(), "fragments to the local backend")
            .opens(cut(first(back())), f.dns_slot(3))
            .by(Reason::Local)
            .follows(later(back()), f.dns_slot(3))
            .by(Reason::Local),
        f.case("icmp errors")
            .opens(f.udp(1001), slot)
            .follows(error(eth()), slot)
            .leaves(error(back()), Reason::Loop)
            .of_service(f.dns()),
    ]
}
