//! The effect of a backend's flags and of its NIC on its packets.

use anyhow::Result;
use dispatcher_common::{
    backend::{LOCAL, NEW, NO_MAC, PRESENT, UP, USABLE},
    connection::State::{Closing, Established, HalfOpen},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::{Datapath, Interface, World, usable}, packet_builder::{ACK, FIN, Mac, SYN}};

use crate::flows::Family;

const SECOND_NIC: Mac = [0x02, 0, 0, 0, 0xdd, 0x02];

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| [states(f), refusals(f), places(f)].into_iter().flatten().collect())
}

/// A connection of each kind on the first backend, whose flags then change.
fn with_connections(f: Family, name: &str, flags: u8) -> Case {
    f.case(name)
        .opens(f.tcp(1001, SYN), f.web_slot(1))
        .follows(f.tcp(1001, ACK), f.web_slot(1))
        .opens(f.udp(1001), f.dns_slot(1))
        .follows(f.udp(1001), f.dns_slot(1))
        .then(move |d| set_ring(d, f))
        .then(move |d| set_flags(d, f, flags))
}

/// The first backends leave their rings.
fn set_ring(datapath: &mut Datapath, f: Family) -> Result<()> {
    datapath.set_ring(f.web(), &[f.web_slot(2), f.web_slot(3)])?;
    datapath.set_ring(f.dns(), &[f.dns_slot(2), f.dns_slot(3)])
}

fn set_flags(datapath: &mut Datapath, f: Family, flags: u8) -> Result<()> {
    for (slot, service) in [(f.web_slot(1), f.web()), (f.dns_slot(1), f.dns())] {
        let mut backend = usable(slot, service);
        backend.flags = flags;
        if flags & NO_MAC != 0 {
            backend.mac = [0; 6];
        }
        datapath.set_backend(&backend)?;
    }
    Ok(())
}

fn states(f: Family) -> Vec<Case> {
    vec![
        with_connections(f, "quiesced: what it has stays", PRESENT | USABLE | UP)
            .follows(f.tcp(1001, ACK), f.web_slot(1))
            .follows(f.tcp(1001, SYN), f.web_slot(1))
            .follows(f.udp(1001), f.dns_slot(1))
            .follows(f.tcp(1001, FIN | ACK), f.web_slot(1))
            .table(&[(Established, f.dns_slot(1)), (Closing, f.web_slot(1))]),
        with_connections(f, "down, keep: tcp stays, udp goes", PRESENT | USABLE)
            .follows(f.tcp(1001, ACK), f.web_slot(1))
            .opens(f.udp(1001), f.dns_slot(3))
            .follows(f.udp(1001), f.dns_slot(3))
            .follows(f.tcp(1001, FIN | ACK), f.web_slot(1)),
        with_connections(f, "down, keep: a syn goes elsewhere", PRESENT | USABLE)
            .opens(f.tcp(1001, SYN), f.web_slot(3))
            .follows(f.tcp(1001, ACK), f.web_slot(3)),
        with_connections(f, "down, drop: tcp is dropped, udp goes", PRESENT)
            .leaves(f.tcp(1001, ACK), Reason::BackendDown)
            .of_service(f.web())
            .opens(f.udp(1001), f.dns_slot(3))
            .opens(f.tcp(1001, SYN), f.web_slot(3))
            .follows(f.tcp(1001, ACK), f.web_slot(3)),
        with_connections(f, "gone: tcp is dropped, udp goes", 0)
            .leaves(f.tcp(1001, ACK), Reason::BackendGone)
            .of_service(f.web())
            .opens(f.udp(1001), f.dns_slot(3))
            .opens(f.tcp(1001, SYN), f.web_slot(3))
            .follows(f.tcp(1001, ACK), f.web_slot(3)),
        f.case("quiesced: a half-open connection keeps its backend")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .then(move |d| set_ring(d, f))
            .then(move |d| set_flags(d, f, PRESENT | USABLE | UP))
            .repeats(f.tcp(1001, SYN), f.web_slot(1))
            .follows(f.tcp(1001, ACK), f.web_slot(1)),
        f.case("down: a half-open connection's syn goes elsewhere")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .then(move |d| set_ring(d, f))
            .then(move |d| set_flags(d, f, PRESENT | USABLE))
            .opens(f.tcp(1001, SYN), f.web_slot(3))
            .repeats(f.tcp(1001, SYN), f.web_slot(3))
            .table(&[(HalfOpen, f.web_slot(3))]),
        with_connections(f, "back again: nothing was forgotten", PRESENT)
            .leaves(f.tcp(1001, ACK), Reason::BackendDown)
            .of_service(f.web())
            .then(move |d| set_flags(d, f, PRESENT | USABLE | UP | NEW))
            .follows(f.tcp(1001, ACK), f.web_slot(1)),
    ]
}

fn refusals(f: Family) -> Vec<Case> {
    vec![
        with_connections(f, "without a mac: nothing is sent", PRESENT | UP | NO_MAC)
            .leaves(f.tcp(1001, ACK), Reason::BackendNoMac)
            .of_service(f.web()),
        with_connections(f, "without a mac: udp and syns go elsewhere", PRESENT | UP | NO_MAC)
            .opens(f.udp(1001), f.dns_slot(3))
            .opens(f.tcp(1001, SYN), f.web_slot(3)),
        f.case("a ring names a backend that just went down")
            .then(move |d| set_flags(d, f, PRESENT))
            .opens(f.tcp(1001, SYN), f.web_slot(2))
            .opens(f.tcp(1002, SYN), f.web_slot(2))
            .opens(f.tcp(1003, SYN), f.web_slot(3))
            .opens(f.tcp(1004, SYN), f.web_slot(2)),
        f.case("a ring names nobody who takes connections")
            .then(move |d| set_flags(d, f, PRESENT | USABLE | UP))
            .then(move |d| d.set_ring(f.web(), &[f.web_slot(1)]))
            .leaves(f.tcp(1001, SYN), Reason::NoBackend)
            .of_service(f.web()),
        f.case("all down: no backend")
            .then(move |d| d.set_ring(f.web(), &[]))
            .leaves(f.tcp(1001, SYN), Reason::NoBackend)
            .of_service(f.web())
            .then(move |d| d.set_ring(f.web(), &[f.web_slot(2)]))
            .opens(f.tcp(1001, SYN), f.web_slot(2)),
    ]
}

fn places(f: Family) -> Vec<Case> {
    let local = World::standard()
        .backend(f.web_slot(1), |b| b.flags |= LOCAL)
        .backend(f.dns_slot(1), |b| b.flags |= LOCAL);
    let elsewhere =
        World::standard().backend(f.web_slot(1), |b| b.interface = 1).backend(f.dns_slot(1), |b| b.interface = 1);
    let mut behind_nic = elsewhere.clone();
    behind_nic.interfaces.push(Interface { index: 1, mac: SECOND_NIC, ifindex: 1, mtu: 0 });
    let mut without_device = elsewhere.clone();
    without_device.interfaces.push(Interface { index: 1, mac: SECOND_NIC, ifindex: 0, mtu: 0 });
    vec![
        f.case_in(local, "a local backend's packets are the kernel's")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .by(Reason::Local)
            .follows(f.tcp(1001, ACK), f.web_slot(1))
            .by(Reason::Local)
            .opens(f.udp(1001), f.dns_slot(1))
            .by(Reason::Local)
            .opens(f.tcp(1002, SYN), f.web_slot(2))
            .table(&[
                (HalfOpen, f.web_slot(2)),
                (HalfOpen, f.dns_slot(1)),
                (Established, f.web_slot(1)),
            ]),
        f.case_in(behind_nic, "a backend behind another nic")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .by(Reason::Redirected)
            .follows(f.tcp(1001, ACK), f.web_slot(1))
            .by(Reason::Redirected)
            .opens(f.udp(1001), f.dns_slot(1))
            .by(Reason::Redirected)
            .opens(f.tcp(1002, SYN), f.web_slot(2)),
        f.case_in(elsewhere, "the other nic has no record")
            .leaves(f.tcp(1001, SYN), Reason::NoInterface)
            .of_service(f.web())
            .places(f.web_slot(1)),
        f.case_in(without_device, "the other nic has no device")
            .leaves(f.tcp(1001, SYN), Reason::NoInterface)
            .of_service(f.web())
            .places(f.web_slot(1)),
    ]
}
