//! Clients that stay with their backend: affinity entries, what ends them, and which services share them.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use dispatcher_common::{
    backend::{NEW, STICKY, UP, USABLE},
    reason::Reason,
    service::Affinity,
};
use dispatcher_tests::{case::Case, datapath::{Datapath, VIP, World, mapped}, packet_builder::{ACK, PacketBuilder, RST, SYN, eth}};

use crate::flows::{Family, without};

/// Short enough to be in the past of a machine that was just started.
const TICKS: u16 = 3;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let (one, two) = (f.web_slot(1), f.web_slot(2));
        vec![
            case(f, "a client's new connections go where its last one went")
                .opens(f.tcp(1001, SYN), one)
                .opens(f.tcp(1002, SYN), one)
                .follows(f.tcp(1001, RST), one)
                .opens(f.tcp(1003, SYN), one)
                .leaves(f.tcp(1004, ACK), Reason::OrphanAck)
                .of_service(f.web()),
            case(f, "a record runs out when no new connection restarts it")
                .then(|_| up_for(u64::from(TICKS) + 1))
                .opens(f.tcp(1001, SYN), one)
                // One less than the limit: a tick may end between two packets.
                .then(|d| older(d, u64::from(TICKS) - 1))
                .opens(f.tcp(1002, SYN), one)
                .then(|d| older(d, u64::from(TICKS) + 1))
                .opens(f.tcp(1003, SYN), two),
            case(f, "a quiesced backend keeps clients with a record")
                .opens(f.tcp(1001, SYN), one)
                .then(move |d| without(d, one, NEW))
                .opens(f.tcp(1002, SYN), one),
            case(f, "quiesced at once it does not")
                .opens(f.tcp(1001, SYN), one)
                .then(move |d| without(d, one, NEW | STICKY))
                .opens(f.tcp(1002, SYN), two)
                .opens(f.tcp(1003, SYN), two),
            case(f, "a record of a backend that is down is void")
                .opens(f.tcp(1001, SYN), one)
                .then(move |d| without(d, one, NEW | UP | USABLE | STICKY))
                .opens(f.tcp(1002, SYN), two)
                .opens(f.tcp(1003, SYN), two),
            f.case_in(
                world(f).backend(one, |b| b.flags &= !STICKY),
                "a backend that is not sticky gets no records",
            )
            .opens(f.tcp(1001, SYN), one)
            .opens(f.tcp(1002, SYN), two)
            .opens(f.tcp(1003, SYN), two),
            f.case_in(
                world(f).backend(one, |b| b.max_connections = 1),
                "a record does not overfill its backend",
            )
            .opens(f.tcp(1001, SYN), one)
            .opens(f.tcp(1002, SYN), two),
            // The other service has the same backends, in other slots.
            f.case_in(shared(f), "services of a group share records")
                .opens(f.tcp(1001, SYN), one)
                .opens(f.tcp(1002, SYN), one)
                .opens(f.udp(1001), f.dns_slot(1))
                .opens(f.udp(1002), f.dns_slot(1))
                .opens(f.tcp(1003, SYN), one),
            case(f, "active ftp: a client with a record may answer its server's syn")
                .opens(f.tcp(1001, SYN), one)
                .opens(f.tcp(1002, SYN | ACK), one)
                .follows(f.tcp(1002, ACK), one),
            case(f, "a syn-ack of a client without a record is an orphan")
                .leaves(f.tcp(1002, SYN | ACK), Reason::OrphanOther)
                .of_service(f.web()),
        ]
    });
    cases.push(masked());
    cases
}

fn world(f: Family) -> World {
    World::standard().affinity(f.web(), Affinity::new(TICKS, 1, 32, 128))
}

fn case(f: Family, name: &str) -> Case {
    f.case_in(world(f), &format!("affinity: {name}"))
}

fn shared(f: Family) -> World {
    let mut world = world(f).affinity(f.dns(), Affinity::new(TICKS, 1, 32, 128));
    for n in 1..4 {
        world.peers.push((f.dns(), f.web_slot(n), f.dns_slot(n)));
        world.peers.push((f.web(), f.dns_slot(n), f.web_slot(n)));
    }
    world
}

/// Clients of one network are one client, others are not.
fn masked() -> Case {
    let from = |last_two: [u8; 2], port| -> PacketBuilder {
        let [c, d] = last_two;
        eth().ipv4(Ipv4Addr::new(198, 51, c, d), VIP).tcp(port, 80, SYN)
    };
    let world = World::standard().affinity(1, Affinity::new(TICKS, 1, 24, 128));
    Case::new("affinity: a mask makes one client of a network", world)
        .opens(from([100, 7], 1001), 11)
        .opens(from([100, 250], 1001), 11)
        .opens(from([101, 7], 1001), 12)
        .opens(from([101, 8], 1001), 12)
        .opens(from([100, 9], 1001), 11)
}

/// Waits until the machine has been up for more than this many ticks. It must come before the first packet: a wait after it would
/// age its record.
fn up_for(ticks: u64) -> Result<()> {
    while mapped::now() <= ticks {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

fn older(datapath: &mut Datapath, ticks: u64) -> Result<()> {
    ensure!(datapath.age_records(ticks)? > 0, "there is no record");
    Ok(())
}
