//! A connection after its end: what shows that it continues, and when a SYN on its port is placed again.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    backend::{NEW, UP, USABLE},
    connection::{
        State::{self, Aborted, Closing, Established, HalfOpen},
        TICK_NS,
    },
    flow::Flow,
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::{Datapath, World, mapped}, packet_builder::{ACK, FIN, PSH, PacketBuilder, RST, SYN}};

use crate::{
    counts::says,
    flows::{Family, without},
    tcp_established::age_all,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        [transitions(f), ports_used_again(f), backends_without_room(f)].into_iter().flatten().collect()
    });
    cases.extend([record_again(), taken_over()]);
    cases
}

/// Packets of a connection's client.
const PACKETS: [(&str, u8, &[u8]); 6] = [
    ("syn", SYN, b""),
    ("syn-ack", SYN | ACK, b""),
    ("ack", ACK, b""),
    ("payload", ACK | PSH, b"x"),
    ("fin", FIN | ACK, b""),
    ("rst", RST, b""),
];

/// A state, and whether it has the mark, which makes no difference to a half-open connection.
type Stage = (State, bool);
const PROVEN: Stage = (Established, true);
const UNPROVEN: Stage = (Established, false);
const LEFT: Stage = (Aborted, false);
const ABORTED: Stage = (Aborted, true);
const BY_FIN: Stage = (Closing, false);
const BY_RST: Stage = (Closing, true);

/// Every state, with the packets (by number) that lead to it, and the state after each further packet.
const TABLE: [(&str, &[usize], [Stage; 6]); 7] = [
    ("half-open", &[0], [(HalfOpen, false), UNPROVEN, UNPROVEN, PROVEN, LEFT, ABORTED]),
    // An ACK after a FIN acknowledges the server's FIN.
    ("aborted by fin", &[0, 4], [(HalfOpen, false), LEFT, LEFT, PROVEN, LEFT, LEFT]),
    ("aborted by rst", &[0, 5], [(HalfOpen, false), ABORTED, UNPROVEN, PROVEN, LEFT, ABORTED]),
    ("unproven", &[0, 2], [UNPROVEN, UNPROVEN, UNPROVEN, PROVEN, BY_FIN, BY_RST]),
    ("proven", &[0, 3], [PROVEN, PROVEN, PROVEN, PROVEN, BY_FIN, BY_RST]),
    ("closing by fin", &[0, 2, 4], [BY_RST, BY_FIN, BY_FIN, PROVEN, BY_FIN, BY_FIN]),
    ("closing by rst", &[0, 2, 5], [BY_RST, BY_RST, PROVEN, PROVEN, BY_FIN, BY_RST]),
];

fn packet(f: Family, number: usize) -> PacketBuilder {
    let (_, flags, payload) = PACKETS[number];
    f.tcp(1001, flags).payload(payload)
}

fn transitions(f: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, before, after) in TABLE {
        for (number, stage) in after.into_iter().enumerate() {
            let name = format!("{name}, then {}", PACKETS[number].0);
            let case = before.iter().skip(1).fold(
                f.case(&name).opens(packet(f, before[0]), f.web_slot(1)),
                |case, number| case.follows(packet(f, *number), f.web_slot(1)),
            );
            let opens = number == 0;
            let case = match before.len() {
                1 if opens => case.repeats(packet(f, number), f.web_slot(1)),
                _ if opens && !name.contains("proven") => {
                    case.opens(packet(f, number), f.web_slot(1))
                }
                _ => case.follows(packet(f, number), f.web_slot(1)),
            };
            cases.push(case.then(move |d| holds(d, f.web_slot(1), stage)));
        }
    }
    cases
}

/// Requires that the table holds one connection, in this slot and state, and that the counts agree.
fn holds(datapath: &Datapath, slot: u16, (state, is_marked): Stage) -> Result<()> {
    let ways = datapath.ways()?;
    let [(place, way)] = ways[..] else { anyhow::bail!("{} ways", ways.len()) };
    let mark_matters = state != HalfOpen;
    ensure!(
        (way.state(), way.slot()) == (state, slot.into())
            && (!mark_matters || way.is_marked() == is_marked),
        "{:?}, {}, slot {}",
        way.state(),
        way.is_marked(),
        way.slot()
    );
    if state == Established {
        ensure!(way.matches(datapath.flow(place)?.hash(datapath.hash_keys())), "another's record");
    }
    let active = u64::from(matches!(state, HalfOpen | Established));
    says(datapath, slot, active, u64::from(state == HalfOpen))
}

/// Makes every way look this many ticks old, at a moment when no tick is about to end.
pub(crate) fn idle(datapath: &mut Datapath, ticks: u64) -> Result<()> {
    const MARGIN: u64 = 500_000_000;
    while !(MARGIN / 5..TICK_NS - MARGIN).contains(&(mapped::now_ns() % TICK_NS)) {
        thread::sleep(Duration::from_millis(20));
    }
    age_all(datapath, ticks)
}

fn ports_used_again(f: Family) -> Vec<Case> {
    let (one, two) = (f.web_slot(1), f.web_slot(2));
    let mut cases = Vec::new();
    for (name, before, after) in TABLE {
        for ticks in 0..4 {
            let name = format!("{name}, idle for {ticks} ticks, then syn");
            let case = before.iter().skip(1).fold(
                f.case(&name).opens(packet(f, before[0]), one),
                |case, number| case.follows(packet(f, *number), one),
            );
            let case = case.then(move |d| idle(d, ticks));
            let has_ended = before.len() > 1 && !name.contains("proven");
            cases.push(match before.len() {
                1 => case.repeats(packet(f, 0), one),
                _ if has_ended && ticks >= 2 => {
                    case.opens(packet(f, 0), two).then(move |d| holds(d, two, (HalfOpen, false)))
                }
                _ if has_ended => {
                    case.opens(packet(f, 0), one).then(move |d| holds(d, one, after[0]))
                }
                _ => case.follows(packet(f, 0), one).then(move |d| holds(d, one, after[0])),
            });
        }
    }
    let ended = |name: &str, end: u8| {
        f.case(name).opens(packet(f, 0), one).follows(packet(f, 3), one).follows(f.tcp(1001, end), one)
    };
    cases.extend([
        ended("a port used again at once is a connection that is counted", FIN | ACK)
            .opens(packet(f, 0), one)
            .follows(packet(f, 2), one)
            .then(move |d| holds(d, one, PROVEN)),
        ended("a port used again at once whose backend is down goes elsewhere", FIN | ACK)
            .then(move |d| without(d, one, USABLE | UP | NEW))
            .opens(packet(f, 0), two)
            .then(move |d| holds(d, two, (HalfOpen, false))),
        // The attack: it needs only the four-tuple, and can be repeated.
        ended("a forged rst and a forged syn move nobody", RST)
            .opens(packet(f, 0), one)
            .follows(packet(f, 3), one)
            .follows(packet(f, 5), one)
            .opens(packet(f, 0), one)
            .opens(packet(f, 0), one)
            .follows(packet(f, 2), one)
            .then(move |d| holds(d, one, PROVEN)),
        ended("a forged fin and a forged syn move nobody", FIN)
            .opens(packet(f, 0), one)
            .follows(packet(f, 3), one)
            .then(move |d| holds(d, one, PROVEN)),
    ]);
    cases
}

/// A SYN on a connection that appears established, on a backend that accepts no new ones.
fn backends_without_room(f: Family) -> Vec<Case> {
    let (one, two) = (f.web_slot(1), f.web_slot(2));
    let established = |name: String, world| {
        f.case_in(world, &name).opens(packet(f, 0), one).follows(packet(f, 3), one)
    };
    let mut cases = Vec::new();
    for ticks in 0..4 {
        let quiesced = established(
            format!("a quiesced backend, idle for {ticks} ticks, then syn"),
            World::standard(),
        )
        .then(move |d| without(d, one, NEW))
        .then(move |d| idle(d, ticks));
        let full = established(
            format!("a full backend, idle for {ticks} ticks, then syn"),
            World::standard().backend(one, |backend| backend.max_connections = 1),
        )
        .then(move |d| idle(d, ticks));
        cases.extend([quiesced, full].map(|case| {
            if ticks < 2 {
                case.follows(packet(f, 0), one).then(move |d| holds(d, one, PROVEN))
            } else {
                case.opens(packet(f, 0), two)
                    .then(move |d| holds(d, two, (HalfOpen, false)))
                    .then(move |d| says(d, one, 0, 0))
                    .follows(packet(f, 2), two)
                    .then(move |d| holds(d, two, UNPROVEN))
            }
        }));
    }
    cases.extend([
        established("an idle connection of a quiesced backend goes on".to_owned(), World::standard())
            .then(move |d| without(d, one, NEW))
            .then(|d| idle(d, 60))
            .follows(packet(f, 2), one)
            .follows(packet(f, 0), one)
            .then(move |d| holds(d, one, PROVEN)),
        established(
            "where all are quiesced a port that is used again is not served".to_owned(),
            World::standard().ring(f.web(), &[one]),
        )
        .then(move |d| without(d, one, NEW))
        .then(|d| idle(d, 2))
        .leaves(packet(f, 0), Reason::NoBackend)
        .of_service(f.web())
        .then(move |d| holds(d, one, PROVEN)),
    ]);
    cases
}

/// A connection that ended without a flow record, as a table of an older layout may have it, gets one when it
/// continues; one with a record keeps it, with its time of birth.
fn record_again() -> Case {
    let f = Family::V4;
    let forget = |d: &mut Datapath, flow: Flow| d.set_flow(place(d)?, flow);
    f.case("a connection that goes on has its record")
        .opens(packet(f, 0), 11)
        .follows(packet(f, 2), 11)
        .then(move |d| {
            let flow = d.flow(place(d)?)?;
            // Born 100 ticks ago.
            let born_and_protocol = flow.born_and_protocol.wrapping_sub(100 << 8);
            forget(d, Flow { born_and_protocol, ..flow })
        })
        .follows(packet(f, 5), 11)
        .follows(packet(f, 2), 11)
        .then(|d| ensure_age(d, 100..=101))
        .follows(packet(f, 5), 11)
        .then(move |d| forget(d, Flow::ZERO))
        .follows(packet(f, 2), 11)
        .then(|d| ensure_age(d, 0..=1))
        .then(|d| holds(d, 11, PROVEN))
        .follows(packet(f, 0), 11)
}

fn place(datapath: &Datapath) -> Result<dispatcher_tests::datapath::Place> {
    Ok(datapath.ways()?.first().context("an empty table")?.0)
}

fn ensure_age(datapath: &Datapath, expected: std::ops::RangeInclusive<u32>) -> Result<()> {
    let born = datapath.flow(place(datapath)?)?.born();
    let age = (mapped::now() as u32).wrapping_sub(born) & 0xff_ffff;
    ensure!(expected.contains(&age), "born {age} ticks ago");
    Ok(())
}

/// Words of layout version 5, where the mark was a bit of the hash: every one is found, with either value.
fn taken_over() -> Case {
    let f = Family::V4;
    let flip = |d: &mut Datapath| -> Result<()> {
        for (place, way) in d.ways()? {
            let other = way.staged(way.stage() ^ 4);
            d.set_way(place, other)?;
        }
        Ok(())
    };
    f.case("words of the layout before are taken over")
        .opens(packet(f, 0), 11)
        .then(flip)
        .repeats(packet(f, 0), 11)
        .then(flip)
        .follows(packet(f, 2), 11)
        .then(flip)
        .follows(packet(f, 2), 11)
        .then(|d| holds(d, 11, PROVEN))
        .then(flip)
        .follows(packet(f, 3), 11)
        .then(|d| holds(d, 11, PROVEN))
        .follows(packet(f, 4), 11)
        .then(flip)
        .follows(packet(f, 3), 11)
        .then(|d| holds(d, 11, PROVEN))
        .follows(packet(f, 5), 11)
        .then(flip)
        .follows(packet(f, 2), 11)
        .then(|d| holds(d, 11, BY_FIN))
        .follows(packet(f, 3), 11)
        .then(|d| holds(d, 11, PROVEN))
}
