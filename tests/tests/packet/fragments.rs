//! Fragments: the first is treated like a whole packet; the others follow it, but only for a limited time.

use anyhow::Result;
use dispatcher_common::{
    backend::{LOCAL, NEW, PRESENT, UP, USABLE},
    connection::State::{Established, HalfOpen},
    fragment::FRAGMENT_TIMEOUT_NS,
    reason::Reason,
    service::orphan,
};
use dispatcher_tests::{
    case::Case,
    datapath::{Datapath, Interface, World, usable},
    packet_builder::{
        ACK, At, PacketBuilder, SYN, eth,
        protocol::{DESTINATION_OPTIONS, GRE, TCP, UDP},
    },
};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        [unknown(f), followed(f), elsewhere(f), not_followed(f)].into_iter().flatten().collect()
    });
    cases.extend(ipv6());
    cases
}

/// The first fragment of a UDP datagram from this client port.
fn first(f: Family, port: u16, id: u16) -> PacketBuilder {
    // Its UDP header has the length of the whole datagram.
    f.ip().fragment(0, true).id(id).udp(port, 53).payload(&[7; 64]).patch(At::L4, 4, &[1, 0])
}

/// A later fragment: after the IP header there is only payload.
fn later(f: Family, id: u16) -> PacketBuilder {
    f.ip().fragment(9, true).id(id).protocol(UDP).payload(&[7; 64])
}

/// The last fragment.
fn last(f: Family, id: u16) -> PacketBuilder {
    f.ip().fragment(18, false).id(id).protocol(UDP).payload(&[7; 3])
}

/// Fragments without a first one.
fn unknown(f: Family) -> Vec<Case> {
    let stranger = |offset, more| f.to_stranger().fragment(offset, more).udp(1001, 53);
    vec![
        f.case("later fragments without a first")
            .leaves(later(f, 1), Reason::Fragment)
            .leaves(last(f, 1), Reason::Fragment)
            .leaves(f.ip().fragment(9, false).protocol(TCP), Reason::Fragment)
            .table(&[]),
        f.case("another datagram's fragments")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .leaves(later(f, 2), Reason::Fragment)
            .follows(later(f, 1), f.dns_slot(1)),
        f.case("fragments of others, and of what is neither tcp nor udp")
            .leaves(stranger(0, true), Reason::NotOurs)
            .leaves(stranger(9, true), Reason::NotOurs)
            .leaves(stranger(9, false), Reason::NotOurs)
            .leaves(f.ip().fragment(0, true).echo(), Reason::Icmp)
            .leaves(f.ip().fragment(9, false).echo(), Reason::Icmp)
            .leaves(f.ip().fragment(0, true).protocol(GRE), Reason::OtherProtocol)
            .leaves(f.ip().fragment(9, false).protocol(GRE), Reason::OtherProtocol)
            .table(&[]),
        f.case("a first fragment without its transport header")
            .leaves(
                f.ip().fragment(0, true).protocol(UDP).payload(&[0, 1, 0, 53, 1, 0, 0]),
                Reason::Malformed,
            )
            .leaves(
                f.ip().fragment(0, true).protocol(TCP).payload(&[0x50; 16]),
                Reason::Malformed,
            )
            .leaves(later(f, 1), Reason::Fragment),
        f.case("a first fragment for which there is no service")
            .leaves(f.ip().fragment(0, true).id(1).udp(1001, 9), Reason::NoService)
            .leaves(later(f, 1), Reason::Fragment),
    ]
}

/// Fragments that follow their first one.
fn followed(f: Family) -> Vec<Case> {
    let tagged = |ip: fn(Family, PacketBuilder) -> PacketBuilder| ip(f, f.on(eth().vlan(7)));
    let part = |offset, more, id| f.ip().fragment(offset, more).id(id);
    vec![
        f.case("a datagram in fragments opens a connection, in whatever order the others come")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .follows(last(f, 1), f.dns_slot(1))
            .follows(later(f, 1), f.dns_slot(1))
            .table(&[(HalfOpen, f.dns_slot(1))]),
        f.case("two datagrams at a time, and of one flow")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .opens(first(f, 1002, 2), f.dns_slot(2))
            .follows(first(f, 1001, 3), f.dns_slot(1))
            .follows(later(f, 2), f.dns_slot(2))
            .follows(later(f, 3), f.dns_slot(1))
            .follows(later(f, 1), f.dns_slot(1))
            .table(&[(HalfOpen, f.dns_slot(2)), (Established, f.dns_slot(1))]),
        f.case("whole packets and fragments are of one flow")
            .opens(f.udp(1001), f.dns_slot(1))
            .opens(f.udp(1002), f.dns_slot(2))
            .follows(first(f, 1002, 1), f.dns_slot(2))
            .follows(later(f, 1), f.dns_slot(2))
            .follows(f.udp(1002), f.dns_slot(2)),
        f.case("a segment in fragments")
            .opens(f.tcp(1001, SYN), f.web_slot(1))
            .follows(part(0, true, 1).tcp(1001, 80, ACK).payload(&[7; 20]), f.web_slot(1))
            .follows(part(5, false, 1).protocol(TCP).payload(&[7; 3]), f.web_slot(1))
            .table(&[(Established, f.web_slot(1))]),
        f.case("an identification that comes again is the new datagram's")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .opens(first(f, 1002, 1), f.dns_slot(2))
            .follows(later(f, 1), f.dns_slot(2)),
        f.case("behind a tag")
            .opens(
                tagged(|_, ip| ip.fragment(0, true).id(1).udp(1001, 53).payload(&[7; 8])),
                f.dns_slot(1),
            )
            .follows(
                tagged(|_, ip| ip.fragment(2, false).id(1).protocol(UDP).payload(&[7])),
                f.dns_slot(1),
            ),
        f.case("an ipv4 identification is the protocol's, an ipv6 one the addresses'")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .opens(part(0, true, 1).tcp(1001, 80, SYN), f.web_slot(1))
            .follows(
                later(f, 1),
                if f == Family::V4 { f.dns_slot(1) } else { f.web_slot(1) },
            )
            .follows(part(9, false, 1).protocol(TCP), f.web_slot(1)),
    ]
}

/// Fragments to a backend that is not behind the NIC they arrived on.
fn elsewhere(f: Family) -> Vec<Case> {
    let local = World::standard().backend(f.dns_slot(1), |b| b.flags |= LOCAL);
    let mut behind_nic = World::standard().backend(f.dns_slot(1), |b| b.interface = 1);
    behind_nic.interfaces.push(Interface { index: 1, mac: [2, 0, 0, 0, 0xdd, 2], ifindex: 1, mtu: 0 });
    let passed = World::standard().orphans(orphan::PASS);
    let ack = f.ip().fragment(0, true).id(1).tcp(1001, 80, ACK);
    vec![
        f.case_in(local, "to a backend on this host")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .by(Reason::Local)
            .follows(later(f, 1), f.dns_slot(1))
            .by(Reason::Local),
        f.case_in(behind_nic, "to a backend behind another nic")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .by(Reason::Redirected)
            .follows(later(f, 1), f.dns_slot(1))
            .by(Reason::Redirected),
        f.case_in(passed, "to the kernel, as its first")
            .leaves(ack, Reason::OrphanPassed)
            .of_service(f.web())
            .leaves(f.ip().fragment(9, false).id(1).protocol(TCP), Reason::OrphanPassed),
    ]
}

/// First fragments that are no longer followed.
fn not_followed(f: Family) -> Vec<Case> {
    let set_flags = move |datapath: &mut Datapath, flags| {
        let mut backend = usable(f.dns_slot(1), f.dns());
        backend.flags = flags;
        datapath.set_backend(&backend)
    };
    let age = |ns| move |datapath: &mut Datapath| -> Result<()> { datapath.age_fragments(ns) };
    vec![
        f.case("a first fragment of long ago")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .then(age(FRAGMENT_TIMEOUT_NS - 5_000_000_000))
            .follows(later(f, 1), f.dns_slot(1))
            .then(age(5_100_000_000))
            .leaves(later(f, 1), Reason::Fragment)
            .follows(first(f, 1001, 1), f.dns_slot(1))
            .follows(later(f, 1), f.dns_slot(1)),
        f.case("the backend goes down in between")
            .opens(first(f, 1001, 1), f.dns_slot(1))
            .then(move |d| set_flags(d, PRESENT))
            .leaves(later(f, 1), Reason::BackendDown)
            .of_service(f.dns())
            .then(move |d| set_flags(d, PRESENT | USABLE | UP | NEW))
            .follows(later(f, 1), f.dns_slot(1)),
    ]
}

fn ipv6() -> Vec<Case> {
    let f = Family::V6;
    let short = f.ip().fragment(0, true).udp(1001, 53).patch(At::L3, 4, &[0, 7]);
    let optional = || f.ip().extension(DESTINATION_OPTIONS, 8);
    vec![
        f.case("a fragment header that reaches into padding is none")
            .leaves(short.cut(At::L2, 120), Reason::Malformed),
        f.case("an atomic fragment is a whole packet")
            .opens(f.ip().fragment(0, false).tcp(1001, 80, SYN), 21)
            .repeats(f.tcp(1001, SYN), 21),
        f.case("a fragment behind destination options")
            .leaves(optional().fragment(9, true).id(1).udp(1001, 53), Reason::Fragment)
            .opens(optional().fragment(0, true).id(1).udp(1001, 53), 41)
            .follows(optional().fragment(9, true).id(1).protocol(UDP), 41),
        f.case("destination options in the fragments, in whose later ones they are not seen")
            .opens(f.ip().fragment(0, true).id(1).extension(DESTINATION_OPTIONS, 8).udp(1001, 53), 41)
            .follows(f.ip().fragment(9, false).id(1).protocol(DESTINATION_OPTIONS), 41)
            .follows(later(f, 1), 41),
        f.case("an atomic fragment's header is nobody's first")
            .opens(f.ip().fragment(0, false).id(1).udp(1001, 53), 41)
            .leaves(later(f, 1), Reason::Fragment),
        f.case("a fragment of a fragment")
            .leaves(f.ip().fragment(0, true).fragment(0, true).udp(1001, 53), Reason::Malformed)
            .leaves(f.ip().fragment(0, true).fragment(9, true).udp(1001, 53), Reason::Malformed)
            .opens(f.ip().fragment(0, true).fragment(0, false).udp(1001, 53), 41),
    ]
}
