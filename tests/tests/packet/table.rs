//! A full connection table: which entries are evicted, which stay, and where other flows go.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    connection::{
        State::{self, Aborted, Closing, Established, HalfOpen},
        Way,
    },
    flow::{Flow, first_bucket, second_bucket},
    net,
    reason::Reason,
    service::ServiceState,
};
use dispatcher_tests::{case::Case, datapath::{CLIENT, Datapath, Place, VIP, World, action, mapped}, packet_builder::{ACK, FIN, PSH, SYN}};

use crate::{flows::Family, tcp_again::idle};

const F: Family = Family::V4;
/// Short enough to be in the past of a machine that was just started.
const STALE_TICKS: u64 = 2;
/// Ways of the small table.
const WAYS: u16 = 16;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        full_of("a new flow evicts the oldest half-open one", SYN, None)
            .then(|d| evicts_the_oldest(d, HalfOpen)),
        full_of_udp("a new flow evicts the oldest udp flow, established or not")
            .then(|d| evicts_the_oldest(d, Established)),
        full_of("established connections are not evicted while packets come", SYN, Some(ACK))
            .then(|d| flood_of_syns_leaves(d, Established)),
        full_of("proven connections are never evicted before their time", SYN, Some(PSH | ACK))
            .then(|d| idle(d, 70))
            .then(|d| flood_of_syns_leaves(d, Established)),
        full_of("closing connections are not evicted before their time", SYN, Some(ACK))
            .then(close_all)
            .then(|d| flood_of_syns_leaves(d, Closing)),
        full_of("an aborted connection makes room", SYN, Some(ACK)).then(|d| {
            for (place, way) in d.ways()? {
                d.set_way(place, way.staged(Aborted as u64))?;
            }
            d.counts_set()?;
            flood(d, 20_000..20_001)?;
            holds(d, Aborted, usize::from(WAYS) - 1)?;
            holds(d, HalfOpen, 1)?;
            overflow_holds(d, 0)
        }),
        full_of("an idle connection without payload makes room when nothing else does", SYN, Some(ACK))
            .then(the_unproven_go_last),
        full_of("an expired connection makes room", SYN, Some(PSH | ACK))
            .then(|d| crate::tcp_established::age_all(d, 72))
            .then(|d| flood(d, 20_000..20_001))
            .then(|d| holds(d, HalfOpen, 1))
            .then(|d| overflow_holds(d, 0)),
        full_of("a connection that has not expired yet makes none", SYN, Some(PSH | ACK))
            .then(|d| crate::tcp_established::age_all(d, 69))
            .then(|d| flood(d, 20_000..20_001))
            .then(|d| holds(d, Established, usize::from(WAYS))),
        full_of("connections in the overflow map live like others", SYN, Some(ACK))
            .opens(F.tcp(20_001, SYN), 12)
            .opens(F.tcp(20_002, SYN), 13)
            .then(|d| overflow_holds(d, 2))
            .repeats(F.tcp(20_001, SYN), 12)
            .follows(F.tcp(20_001, ACK), 12)
            .follows(F.tcp(20_002, ACK), 13)
            .follows(F.tcp(20_001, ACK), 12)
            .follows(F.tcp(20_001, FIN | ACK), 12)
            .opens(F.tcp(20_001, SYN), 12)
            .follows(F.tcp(20_001, ACK), 12)
            .then(|d| overflow_holds(d, 2)),
        by_hash("without room flows are placed by hash, always alike")
            .then(|d| placed_by_hash(d).map(|_| ())),
        by_hash("placed by hash: without an entry, by each packet anew")
            .then(|d| placed_by_hash(d).map(|_| ()))
            .then(|d| holds(d, Established, usize::from(WAYS)))
            .then(|d| overflow_holds(d, 4)),
        by_hash("placed by hash: entered as soon as there is room").then(entered_by_hash),
        by_hash("placed by hash: until stale_timeout after the last one").then(hash_grows_stale),
        F.case("a syn with another connection's fingerprint")
            .opens(F.tcp(1001, SYN), 11)
            .follows(F.tcp(1001, ACK), 11)
            .then(foreign_record)
            .leaves(F.tcp(1001, SYN), Reason::Collision)
            .of_service(1)
            .then(|d| holds(d, Established, 1)),
    ]
}

/// A table of 16 ways, full of TCP connections on backend 11 that these packets made.
fn full_of(name: &str, first: u8, second: Option<u8>) -> Case {
    let mut world = World::standard();
    world.buckets = 2;
    fill(F.case_in(world, name), first, second)
}

fn fill(case: Case, first: u8, second: Option<u8>) -> Case {
    case.then(move |d| {
        let mut port = 1000;
        while d.ways()?.len() < usize::from(WAYS) {
            port += 1;
            ensure!(port < 10_000, "the table does not fill");
            let known = d.ways()?;
            let _run = d.run(&F.tcp(port, first).build().bytes)?;
            if known.len() == d.ways()?.len() {
                // It went to the overflow map, or evicted another: remove it again.
                d.clear_overflow()?;
                continue;
            }
            if let Some(second) = second {
                let payload: &[u8] = if second & PSH == 0 { b"" } else { b"x" };
                let _run = d.run(&F.tcp(port, second).payload(payload).build().bytes)?;
            }
        }
        let state = ServiceState { cursor: 1, ..d.service_state(1)? };
        d.set_service_state(1, state)
    })
}

fn full_of_udp(name: &str) -> Case {
    let mut world = World::standard();
    world.buckets = 2;
    F.case_in(world, name).then(|d| {
        for port in 1000..2000 {
            if d.ways()?.len() == usize::from(WAYS) {
                return Ok(());
            }
            let packet = F.udp(port).build().bytes;
            let _runs = (d.run(&packet)?, d.run(&packet)?);
        }
        anyhow::bail!("the table does not fill")
    })
}

/// A full table, and a full overflow map.
fn by_hash(name: &str) -> Case {
    let mut world = World::standard();
    world.services[0].stale_ticks = STALE_TICKS;
    world.buckets = 2;
    world.overflow = 4;
    fill(F.case_in(world, name), SYN, Some(ACK)).then(|d| flood(d, 20_000..20_004))
}

fn hash_of(datapath: &Datapath, port: u16, protocol: u8, vip_port: u16) -> u64 {
    let flow = Flow {
        client: net::address(CLIENT.into()),
        vip: net::address(VIP.into()),
        client_port: port.to_be_bytes(),
        vip_port: vip_port.to_be_bytes(),
        born_and_protocol: protocol.into(),
    };
    flow.hash(datapath.hash_keys())
}

/// Gives every way another age, and checks that a new flow replaces the oldest one in its buckets.
fn evicts_the_oldest(datapath: &mut Datapath, state: State) -> Result<()> {
    for port in 20_000..20_040 {
        let before = datapath.ways()?;
        ensure!(before.len() == usize::from(WAYS), "the table is not full");
        let mut aged = Vec::new();
        for (i, (place, way)) in before.into_iter().enumerate() {
            // Ages 0 to 6, some of them twice, in a changing order.
            let way = mapped::aged(way, (i as u64 * 5 + u64::from(port)) % 7);
            datapath.set_way(place, way)?;
            aged.push((place, way));
        }
        let hash = hash_of(datapath, port, net::TCP, 80);
        let buckets = [first_bucket(hash, 1), second_bucket(hash, 1)];
        let _run = datapath.run(&F.tcp(port, SYN).build().bytes)?;
        let after = datapath.ways()?;
        let changed: Vec<(Place, Way)> =
            aged.iter().filter(|way| !after.contains(way)).copied().collect();
        let [(place, evicted)] = changed[..] else {
            anyhow::bail!("{} ways changed, expected 1", changed.len());
        };
        let now = mapped::now();
        let candidates = aged.iter().filter(|(place, _)| buckets.contains(&place.bucket));
        let oldest = candidates.map(|(_, way)| way.age(now)).max().context("no candidates")?;
        ensure!(buckets.contains(&place.bucket), "evicted from another bucket");
        ensure!(evicted.age(now) == oldest, "evicted at {}, oldest {oldest}", evicted.age(now));
        if port == 20_000 {
            ensure!(evicted.state() == state, "evicted {:?}", evicted.state());
        }
    }
    Ok(())
}

/// Sends new flows from these client ports, all of which must be forwarded.
fn flood(datapath: &Datapath, ports: std::ops::Range<u16>) -> Result<()> {
    for port in ports {
        let run = datapath.run(&F.tcp(port, SYN).build().bytes)?;
        ensure!(run.action == action::TX, "port {port}: {run:?}");
    }
    Ok(())
}

fn flood_of_syns_leaves(datapath: &mut Datapath, state: State) -> Result<()> {
    let before = datapath.ways()?;
    flood(datapath, 20_000..21_000)?;
    ensure!(datapath.ways()? == before, "the flood changed the table");
    ensure!(before.iter().all(|(_, way)| way.state() == state), "not all were {state:?}");
    overflow_holds(datapath, 1_000)
}

/// Ends every connection of the table with a FIN.
fn close_all(datapath: &mut Datapath) -> Result<()> {
    for (place, _) in datapath.ways()? {
        let port = u16::from_be_bytes(datapath.flow(place)?.client_port);
        let _run = datapath.run(&F.tcp(port, FIN | ACK).build().bytes)?;
    }
    Ok(())
}

/// In a table full of idle connections without payload, one of each bucket is half-open: it is evicted first, however
/// young. Then the oldest ones are.
fn the_unproven_go_last(datapath: &mut Datapath) -> Result<()> {
    idle(datapath, 1)?;
    flood_of_syns_leaves(datapath, Established)?;
    datapath.clear_overflow()?;
    idle(datapath, 3)?;
    let ways = datapath.ways()?;
    for bucket in 0..2 {
        let (place, way) = ways.iter().find(|(p, _)| p.bucket == bucket).context("an empty bucket")?;
        datapath.set_way(*place, mapped::aged(way.staged(HalfOpen as u64), 0))?;
        let (place, way) =
            ways.iter().rfind(|(p, _)| p.bucket == bucket).context("an empty bucket")?;
        datapath.set_way(*place, mapped::aged(*way, 9))?;
    }
    datapath.counts_set()?;
    let established = usize::from(WAYS) - 2;
    // A half-open connection replaces one, until both ways belong to the flood; then only those are replaced.
    flood(datapath, 20_000..20_008)?;
    holds(datapath, Established, established)?;
    // They complete their handshake: now all are unproven, and the two that have been idle for nine ticks are evicted
    // first.
    for port in 20_000..20_008 {
        let _run = datapath.run(&F.tcp(port, ACK).build().bytes)?;
    }
    holds(datapath, Established, usize::from(WAYS))?;
    flood(datapath, 21_000..21_001)?;
    holds(datapath, HalfOpen, 1)?;
    overflow_holds(datapath, 0)?;
    let now = mapped::now();
    let old = datapath.ways()?.iter().filter(|(_, way)| way.age(now) >= 9).count();
    ensure!(old == 1, "{old} of the two oldest are left, expected 1");
    datapath.counts_are_true()
}

fn holds(datapath: &Datapath, state: State, expected: usize) -> Result<()> {
    let ways = datapath.ways()?;
    let held = ways.iter().filter(|(_, way)| way.state() == state).count();
    ensure!(held == expected, "{held} ways {state:?}, expected {expected}");
    Ok(())
}

/// The overflow map's contents and its count agree.
fn overflow_holds(datapath: &Datapath, expected: u64) -> Result<()> {
    let (held, said) = (datapath.overflow()?.len() as u64, datapath.overflow_entries()?);
    ensure!(held == expected && said == expected, "{held} held, {said} said, expected {expected}");
    Ok(())
}

/// Sends SYNs and ACKs of flows for which there is no room; returns each flow's port and backend MAC.
fn placed_by_hash(datapath: &Datapath) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut placed = Vec::new();
    for port in 30_000..30_100 {
        let mac = |flags| -> Result<Vec<u8>> {
            let run = datapath.run(&F.tcp(port, flags).build().bytes)?;
            ensure!(run.action == action::TX, "port {port}: {run:?}");
            Ok(run.bytes[..6].to_vec())
        };
        let first = mac(SYN)?;
        for flags in [SYN, ACK, ACK, SYN, FIN | ACK] {
            ensure!(mac(flags)? == first, "port {port}: two backends");
        }
        placed.push((port, first));
    }
    for n in 1..4_u8 {
        let share = placed.iter().filter(|(_, mac)| mac[5] == 10 + n).count();
        ensure!((15..=55).contains(&share), "backend {n} was given {share} of 100");
    }
    Ok(placed)
}

/// Once the table has room again, a flow's next packet enters it on the same backend.
fn entered_by_hash(datapath: &mut Datapath) -> Result<()> {
    let placed = placed_by_hash(datapath)?;
    for (place, _) in datapath.ways()? {
        datapath.set_way(place, Way(0))?;
    }
    for (port, mac) in &placed[..3] {
        for _ in 0..2 {
            let run = datapath.run(&F.tcp(*port, ACK).build().bytes)?;
            ensure!(run.bytes[..6] == mac[..], "port {port}: another backend");
        }
    }
    holds(datapath, Established, 3)
}

fn hash_grows_stale(datapath: &mut Datapath) -> Result<()> {
    while mapped::now() <= STALE_TICKS + 1 {
        thread::sleep(Duration::from_millis(100));
    }
    let ack = F.tcp(31_000, ACK).build().bytes;
    placed_by_hash(datapath)?;
    // A tick may pass meanwhile: one less than the last that counts, one more than it.
    hashed_earlier(datapath, STALE_TICKS - 1)?;
    let run = datapath.run(&ack)?;
    ensure!(run.action == action::TX, "not yet stale: {run:?}");
    // That packet found no room, either, and was the last placement by hash.
    hashed_earlier(datapath, STALE_TICKS + 1)?;
    let before = datapath.counts()?;
    let run = datapath.run(&ack)?;
    ensure!(run.action == action::DROP, "stale: {run:?}");
    let counted = datapath.counts()?.since(&before);
    ensure!(counted == [(Reason::OrphanAck, 1, 40)], "stale: {counted:?}");
    Ok(())
}

/// Makes the last placement by hash, which was just now, look this many ticks older.
fn hashed_earlier(datapath: &mut Datapath, ticks: u64) -> Result<()> {
    let mut state = datapath.service_state(1)?;
    let age = (mapped::now() + 1).saturating_sub(state.hashed_at);
    ensure!(state.hashed_at != 0 && age <= 1, "noted {age} ticks ago, at {}", state.hashed_at);
    state.hashed_at -= ticks;
    datapath.set_service_state(1, state)
}

/// Replaces the only way's record by that of another flow, as if both had one fingerprint.
fn foreign_record(datapath: &mut Datapath) -> Result<()> {
    let (place, _) = *datapath.ways()?.first().context("an empty table")?;
    let mut flow = datapath.flow(place)?;
    flow.client_port = 1002_u16.to_be_bytes();
    datapath.set_flow(place, flow)
}
