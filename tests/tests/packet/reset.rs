//! RSTs to clients: for orphans with `orphan = "reset"`, and for connections of backends that are down with `on_down =
//! "reset"`.

use std::time::Instant;

use anyhow::{Result, ensure};
use dispatcher_common::{
    backend::{NEW, NO_MAC, PRESENT, RESET, UP, USABLE},
    connection::State::{Closing, Established, HalfOpen},
    reason::Reason,
    service::orphan,
    settings::RESET_INTERVAL_NS,
};
use dispatcher_lab::cpus;
use dispatcher_tests::{
    case::Case,
    datapath::{self, Datapath, World, usable},
    packet_builder::{
        ACK, At, FIN, PSH, PacketBuilder, RST, SYN, eth,
        protocol::{DESTINATION_OPTIONS, HOP_BY_HOP, TCP},
    },
};

use crate::flows::Family;

/// The sequence number that the packet builder gives every segment.
const SEQUENCE: u32 = 0x1001;
/// The acknowledgement number of segments with ACK.
const ACKNOWLEDGEMENT: u32 = 0x2001;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let parts = [orphans(f), frames(f), backends(f), limits(f)];
        parts.into_iter().flatten().collect()
    });
    let (v4, v6) = (Family::V4, Family::V6);
    cases.extend([
        world(v4, "ipv4 options do not come back").resets(
            v4.ip().options(&[1; 12]).tcp(1001, 80, ACK).payload(&[7; 60]),
            alone(v4.reply()).cut(At::L2, 60),
        )
        .of_service(v4.web()),
        world(v6, "ipv6 extension headers do not come back").resets(
            v6.ip()
                .extension(HOP_BY_HOP, 8)
                .extension(DESTINATION_OPTIONS, 24)
                .tcp(1001, 80, ACK),
            alone(v6.reply()),
        )
        .of_service(v6.web()),
    ]);
    cases
}

/// The answer to a segment with ACK.
fn alone(ip: PacketBuilder) -> PacketBuilder {
    ip.tcp(80, 1001, RST).tcp_numbers(ACKNOWLEDGEMENT, 0, 0)
}

/// The answer to a segment without ACK that occupies this much of the sequence space.
fn with_ack(ip: PacketBuilder, length: u32) -> PacketBuilder {
    ip.tcp(80, 1001, RST | ACK).tcp_numbers(0, SEQUENCE + length, 0)
}

/// A case in a world in which orphans are answered.
fn world(f: Family, name: &str) -> Case {
    f.case_in(World::standard().orphans(orphan::RESET), name)
}

fn orphans(f: Family) -> Vec<Case> {
    let of = |name: &str| world(f, name);
    let (tcp, reply) = (|flags| f.tcp(1001, flags), || f.reply());
    vec![
        of("an orphaned ack: its acknowledgement is the sequence number")
            .resets(tcp(ACK), alone(reply()))
            .of_service(f.web())
            .resets(tcp(ACK | PSH).payload(b"da"), alone(reply()))
            .of_service(f.web())
            .resets(tcp(FIN | ACK), alone(reply()))
            .of_service(f.web())
            .resets(tcp(SYN | ACK), alone(reply()))
            .of_service(f.web())
            .table(&[]),
        of("an orphan without ack: what it takes up is acknowledged")
            .resets(tcp(0), with_ack(reply(), 0))
            .of_service(f.web())
            .resets(tcp(PSH).payload(b"dat"), with_ack(reply(), 3))
            .of_service(f.web())
            .resets(tcp(FIN), with_ack(reply(), 1))
            .of_service(f.web())
            .resets(tcp(FIN | SYN).payload(b"data"), with_ack(reply(), 6))
            .of_service(f.web())
            .table(&[]),
        of("the sequence wraps")
            .resets(
                tcp(FIN).payload(b"data").tcp_numbers(u32::MAX - 1, 0, 9),
                reply().tcp(80, 1001, RST | ACK).tcp_numbers(0, 3, 0),
            )
            .of_service(f.web()),
        of("an rst is never answered")
            .leaves(tcp(RST), Reason::OrphanRst)
            .of_service(f.web())
            .leaves(tcp(RST | ACK), Reason::OrphanRst)
            .of_service(f.web()),
        of("a syn is no orphan").opens(tcp(SYN), f.web_slot(1)).follows(tcp(ACK), f.web_slot(1)),
        of("fragments are not answered: how long the segment is, is not known")
            .leaves(f.ip().fragment(0, true).id(1).tcp(1001, 80, ACK), Reason::OrphanAck)
            .of_service(f.web())
            .leaves(f.ip().fragment(9, false).id(1).protocol(TCP), Reason::Fragment),
    ]
}

/// Which parts of a frame come back.
fn frames(f: Family) -> Vec<Case> {
    let tagged = |frame: PacketBuilder| frame.vlan(7).tag(0x88a8, 0x6008);
    let mut cases = vec![
        world(f, "tags come back")
            .resets(
                f.on(tagged(eth())).tcp(1001, 80, ACK).payload(&[7; 100]),
                alone(f.reply_in(tagged(eth()))),
            )
            .of_service(f.web()),
        world(f, "tcp options do not come back")
            .resets(
                f.tcp(1001, FIN).tcp_options(&[1; 12]).payload(b"data"),
                with_ack(f.reply(), 5).cut(At::L2, if f == Family::V4 { 60 } else { 74 }),
            )
            .of_service(f.web()),
        world(f, "a long packet")
            .resets(
                f.tcp(1001, 0).payload(&[7; 1400]),
                with_ack(f.reply(), 1400).cut(At::L2, if f == Family::V4 { 60 } else { 74 }),
            )
            .of_service(f.web()),
    ];
    for padded in [60, 61, 90] {
        // Ethernet's minimum length is kept; bytes after the answer are zero.
        let whole = if f == Family::V4 { 60 } else { 74 };
        let packet = f.tcp(1001, 0).cut(At::L2, padded.max(whole));
        cases.push(
            world(f, &format!("a frame of {padded} bytes"))
                .resets(packet, with_ack(f.reply(), 0).cut(At::L2, whole))
                .of_service(f.web()),
        );
    }
    cases
}

/// Connections of a backend that is down.
fn backends(f: Family) -> Vec<Case> {
    let slot = f.web_slot(1);
    let set = move |flags| {
        move |d: &mut Datapath| -> Result<()> {
            let mut backend = usable(slot, f.web());
            backend.flags = flags;
            d.set_backend(&backend)?;
            d.set_ring(f.web(), &[f.web_slot(2)])
        }
    };
    let open = |name: &str| {
        f.case(name)
            .opens(f.tcp(1001, SYN), slot)
            .follows(f.tcp(1001, ACK), slot)
            .table(&[(Established, slot)])
    };
    let mut cases = vec![
        open("usable: nothing is answered")
            .then(set(PRESENT | USABLE | UP | NEW | RESET))
            .follows(f.tcp(1001, ACK), slot)
            .then(set(PRESENT | USABLE | RESET))
            .follows(f.tcp(1001, ACK), slot),
        open("down: the client is told, and comes back elsewhere")
            .then(set(PRESENT | RESET))
            .resets(f.tcp(1001, ACK | PSH).payload(b"more"), alone(f.reply()))
            .of_service(f.web())
            .table(&[(Closing, slot)])
            .resets(f.tcp(1001, ACK), alone(f.reply()))
            .of_service(f.web())
            .opens(f.tcp(1001, SYN), f.web_slot(2))
            .follows(f.tcp(1001, ACK), f.web_slot(2))
            .table(&[(Established, f.web_slot(2))]),
        open("down: an rst is not answered")
            .then(set(PRESENT | RESET))
            .leaves(f.tcp(1001, RST), Reason::BackendDown)
            .of_service(f.web())
            .table(&[(Closing, slot)]),
        open("down: fragments are not answered")
            .then(set(PRESENT | RESET))
            .leaves(f.ip().fragment(0, true).tcp(1001, 80, ACK), Reason::BackendDown)
            .of_service(f.web()),
        f.case("half open: a syn goes elsewhere, an ack is answered")
            .opens(f.tcp(1001, SYN), slot)
            .then(set(PRESENT | RESET))
            .resets(f.tcp(1001, ACK), alone(f.reply()))
            .of_service(f.web())
            .opens(f.tcp(1001, SYN), f.web_slot(2))
            .table(&[(HalfOpen, f.web_slot(2))]),
    ];
    for (name, flags) in [("without a mac", PRESENT | UP | NO_MAC | RESET), ("gone", RESET)] {
        cases.push(
            open(name)
                .then(set(flags))
                .resets(f.tcp(1001, ACK), alone(f.reply()))
                .of_service(f.web()),
        );
    }
    let udp_down = move |d: &mut Datapath| {
        let mut backend = usable(f.dns_slot(1), f.dns());
        backend.flags = PRESENT | RESET;
        d.set_backend(&backend)?;
        d.set_ring(f.dns(), &[])
    };
    cases.push(
        f.case("udp has no rst")
            .opens(f.udp(1001), f.dns_slot(1))
            .then(udp_down)
            .leaves(f.udp(1001), Reason::NoBackend)
            .of_service(f.dns()),
    );
    cases
}

/// The rate limit.
fn limits(f: Family) -> Vec<Case> {
    let with = |interval| {
        let mut world = World::standard().orphans(orphan::RESET);
        world.reset_interval = interval;
        world
    };
    let on_one_cpu = |_: &mut Datapath| match cpus::available()?.first() {
        Some(cpu) => cpus::pin(*cpu),
        None => Ok(()),
    };
    vec![
        f.case_in(with(3_600_000_000_000), "one an hour: the second is dropped by kind")
            .then(on_one_cpu)
            .resets(f.tcp(1001, ACK), alone(f.reply()))
            .of_service(f.web())
            .leaves(f.tcp(1001, ACK), Reason::OrphanAck)
            .of_service(f.web())
            .leaves(f.tcp(1001, FIN), Reason::OrphanFin)
            .of_service(f.web()),
        f.case_in(with(0), "none at all")
            .leaves(f.tcp(1001, ACK), Reason::OrphanAck)
            .of_service(f.web()),
    ]
}

#[test]
fn a_cpu_sends_a_thousand_a_second() {
    if !datapath::available() {
        return;
    }
    let mut world = World::standard().orphans(orphan::RESET);
    world.reset_interval = RESET_INTERVAL_NS;
    let frame = Family::V4.tcp(1001, ACK).build().bytes;
    let count = |datapath: &mut Datapath| -> Result<()> {
        if let Some(cpu) = cpus::available()?.first() {
            cpus::pin(*cpu)?;
        }
        let before = datapath.counts()?;
        let start = Instant::now();
        while start.elapsed().as_millis() < 400 {
            datapath.run(&frame)?;
        }
        let most = start.elapsed().as_millis() as u64 + 120;
        let counted = datapath.counts()?.since(&before);
        let sent = counted.iter().find(|(reason, ..)| *reason == Reason::Reset).map_or(0, |c| c.1);
        let dropped: u64 = counted.iter().map(|c| c.1).sum::<u64>() - sent;
        ensure!((400..=most).contains(&sent) && dropped > 0, "{sent} sent, {dropped} dropped");
        Ok(())
    };
    Datapath::with(&world, count).expect("a thousand a second and a burst of a hundred");
}
