//! The loaded object against the reference model: long random sequences, compared step by step.
//!
//! On a difference the seed is printed, with the shortest sequence that shows it. `DISPATCHER_SEED` repeats a run,
//! `DISPATCHER_PACKETS` sets how many frames each test sends.

use std::{collections::BTreeMap, env, fmt::Write as _};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    connection::{State, TICK_SHIFT, Way},
    reason::{Reason, Verdict},
};
use dispatcher_tests::{
    case::action_of,
    datapath::{self, Datapath, Run, World, action, mapped},
    model::{Model, Outcome, Phase},
    traffic::{self, Event, Mix},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

const PACKETS: usize = 100_000;
const SEQUENCE: usize = 1000;

#[test]
fn random_sequences_agree_with_the_model() {
    compare(Mix { changes: 12, damaged: 8 });
}

#[test]
fn damaged_packets_agree_with_the_model_and_are_never_misdirected() {
    compare(Mix { changes: 0, damaged: 1 });
}

fn compare(mix: Mix) {
    if !datapath::available() {
        return;
    }
    let seed =
        env::var("DISPATCHER_SEED").map_or_else(|_| rand::rng().random(), |text| number(&text));
    let packets = env::var("DISPATCHER_PACKETS").map_or(PACKETS, |text| number(&text) as usize);
    let world = traffic::world();
    let result = Datapath::with(&world, |datapath| {
        let before = datapath.counts()?;
        compare_with(datapath, &world, mix, seed, packets);
        Ok(datapath.counts()?.since(&before))
    });
    let met = result.expect("the object loads");
    println!("{packets} packets, seed {seed}: {met:?}");
    let sent = met.iter().filter(|(reason, ..)| *reason == Reason::Forwarded).map(|(_, n, _)| *n);
    assert!(sent.sum::<u64>() * 20 > packets as u64, "hardly a packet was forwarded");
}

fn compare_with(datapath: &mut Datapath, world: &World, mix: Mix, seed: u64, packets: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for first in (0..packets).step_by(SEQUENCE) {
        let events = traffic::events(&mut rng, world, mix, SEQUENCE.min(packets - first));
        if let Err(error) = play(datapath, world, &events) {
            let shortest = shrink(events, |events| play(datapath, world, events).is_err());
            let error = play(datapath, world, &shortest).err().unwrap_or(error);
            panic!("DISPATCHER_SEED={seed}: {error:#}\n{}", listing(&shortest));
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text}: a number was expected"))
}

/// Plays a sequence to both, within one tick of the clock: the model knows only the ticks that it is given.
fn play(datapath: &mut Datapath, world: &World, events: &[Event]) -> Result<()> {
    const ATTEMPTS: usize = 20;
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        let begin = mapped::now_ns().saturating_sub(MARGIN_NS) >> TICK_SHIFT;
        result = play_once(datapath, world, events);
        if result.is_ok() || begin == (mapped::now_ns() + MARGIN_NS) >> TICK_SHIFT {
            break;
        }
    }
    result
}

/// Largest difference of the datapath's clock from ours: some jiffies.
const MARGIN_NS: u64 = 50_000_000;

/// Plays a sequence to both, from the start. Counters are compared at its end, everything else packet by packet.
fn play_once(datapath: &mut Datapath, world: &World, events: &[Event]) -> Result<()> {
    datapath.refill(world).context("cannot refill the maps")?;
    let mut model = Model::new(world);
    let (before, counts) = (Totals::of(datapath, world)?, datapath.counts()?);
    let mut expected = before.clone();
    let mut reasons = BTreeMap::new();
    for (i, event) in events.iter().enumerate() {
        match event {
            Event::Backend(backend) => {
                datapath.set_backend(backend)?;
                model.set_backend(*backend);
            }
            Event::Ring(service, ring) => {
                datapath.set_ring(*service, ring)?;
                model.set_ring(*service, ring);
            }
            Event::Rule(service, rule) => {
                datapath.set_rule(*service, rule)?;
                model.set_rule(*service, rule);
            }
            Event::Choices(service, scheduler, affinity) => {
                datapath.set_choices(*service, *scheduler, *affinity)?;
                model.set_choices(*service, *scheduler, *affinity);
            }
            Event::Guard(connections) => {
                datapath.set_guard(*connections)?;
                model.set_guard(*connections);
            }
            Event::Pass(ticks) => {
                if datapath.pass(*ticks)? {
                    model.pass(*ticks);
                }
            }
            Event::Frame(frame) => {
                let run = datapath.run(frame)?;
                let outcome = model.receive(frame);
                check_frame(frame, &run, &model, &outcome, world)
                    .with_context(|| format!("event {}: the model {outcome:?}", i + 1))?;
                let (packets, bytes) = reasons.entry(outcome.reason).or_default();
                (*packets, *bytes) = (*packets + 1, *bytes + outcome.bytes);
                expected.add(&outcome);
            }
        }
    }
    let reasons: Vec<(Reason, u64, u64)> =
        reasons.into_iter().map(|(r, (p, b))| (r, p, b)).collect();
    let counted = datapath.counts()?.since(&counts);
    ensure!(counted == reasons, "counted\n  {counted:?}, the model\n  {reasons:?}");
    check_end(datapath, world, &model, &before, expected)
}

fn check_frame(
    frame: &[u8],
    run: &Run,
    model: &Model,
    outcome: &Outcome,
    world: &World,
) -> Result<()> {
    // What must never happen, whatever the model says.
    if outcome.reason == Reason::Reset {
        ensure!(run.bytes[..6] == frame[6..12], "an answer to another than the sender");
        ensure!(run.bytes.len() <= frame.len(), "an answer longer than the packet");
    } else if matches!(run.action, action::TX | action::REDIRECT) {
        let known = world
            .backends
            .iter()
            .any(|b| b.mac[..2] == run.bytes[..2] && b.mac[3..] == run.bytes[3..6]);
        ensure!(known, "forwarded to {:02x?}, which is no backend's", &run.bytes[..6]);
        ensure!(run.bytes[12..] == frame[12..], "bytes above the addresses were changed");
    } else {
        ensure!(run.bytes == frame, "a frame that was not forwarded was changed");
    }
    let verdict: Verdict = outcome.reason.verdict();
    ensure!(run.action == action_of(verdict), "action {}, expected {verdict:?}", run.action);
    let sent = model.sent(frame, outcome);
    ensure!(run.bytes == sent, "sent\n  {:02x?}, expected\n  {sent:02x?}", run.bytes);
    Ok(())
}

/// Compares the final state of both: connections, and the counters of backends and services.
fn check_end(
    datapath: &Datapath,
    world: &World,
    model: &Model,
    before: &Totals,
    expected: Totals,
) -> Result<()> {
    let phase = |way: Way| match (way.state(), way.is_marked()) {
        (State::Aborted, false) => Phase::Left,
        (State::Aborted, true) => Phase::Aborted,
        (State::HalfOpen, _) => Phase::HalfOpen,
        (State::Established, false) => Phase::Unproven,
        (State::Established, true) => Phase::Proven,
        (State::Closing, false) => Phase::Finished,
        (State::Closing, true) => Phase::Reset,
    };
    let ways = datapath.ways()?;
    let mut held: Vec<_> = ways.iter().map(|(_, way)| (phase(*way), way.slot() as u16)).collect();
    let mut connections: Vec<_> = model.connections().collect();
    held.sort_unstable();
    connections.sort_unstable();
    ensure!(held == connections, "table\n  {held:?}, the model\n  {connections:?}");

    datapath.counts_are_true()?;
    let after = Totals::of(datapath, world)?;
    ensure!(after.services == expected.services, "early exits of services");
    for (backend, (now, then)) in
        world.backends.iter().zip(after.backends.iter().zip(&before.backends))
    {
        let counted: [u64; 4] = std::array::from_fn(|i| now[i] - then[i]);
        let c = model.counts(backend.slot);
        let expected = [c.packets, c.bytes, c.connections, c.retransmissions];
        ensure!(counted == expected, "slot {}: {counted:?}, expected {expected:?}", backend.slot);
    }
    Ok(())
}

/// Counters of backends (packets, bytes, connections, retransmissions) and services, in the world's order.
#[derive(Clone)]
struct Totals {
    backends: Vec<[u64; 4]>,
    services: Vec<(u32, Vec<u64>)>,
}

impl Totals {
    fn of(datapath: &Datapath, world: &World) -> Result<Self> {
        let mut totals = Self { backends: Vec::new(), services: Vec::new() };
        for backend in &world.backends {
            let c = datapath.backend_counts(backend.slot)?;
            totals.backends.push([c.packets, c.bytes, c.connections, c.retransmissions]);
        }
        for service in &world.services {
            totals.services.push((service.id, datapath.service_counts(service.id)?.to_vec()));
        }
        Ok(totals)
    }

    fn add(&mut self, outcome: &Outcome) {
        for (_, reasons) in self.services.iter_mut().filter(|(id, _)| outcome.service == Some(*id))
        {
            reasons[outcome.reason as usize] += 1;
        }
    }
}

/// Removes events that are not needed for the failure: halves first, then ever smaller pieces.
fn shrink(mut events: Vec<Event>, mut fails: impl FnMut(&[Event]) -> bool) -> Vec<Event> {
    let mut piece = events.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < events.len() {
            let mut shorter = events.clone();
            shorter.drain(at..(at + piece).min(events.len()));
            if fails(&shorter) {
                events = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    events
}

fn listing(events: &[Event]) -> String {
    let mut text = String::new();
    for (i, event) in events.iter().enumerate() {
        let _infallible = match event {
            Event::Frame(frame) => writeln!(text, "{:3} frame {}", i + 1, hex(frame)),
            Event::Backend(_)
            | Event::Ring(..)
            | Event::Rule(..)
            | Event::Choices(..)
            | Event::Guard(_)
            | Event::Pass(_) => writeln!(text, "{:3} {event:?}", i + 1),
        };
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn shrinking_keeps_what_fails() {
    let events: Vec<Event> = (0..100_u8).map(|n| Event::Frame(vec![n])).collect();
    let needed = [Event::Frame(vec![7]), Event::Frame(vec![66])];
    let shortest = shrink(events, |events| needed.iter().all(|event| events.contains(event)));
    assert_eq!(shortest, needed);
}
