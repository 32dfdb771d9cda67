//! Measurement: response times and delivered bytes inferred from a client's packets alone, and the schedulers that use
//! them.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    backend::NEW,
    connection::State,
    counts::ActiveCount,
    measure::{ByteWindow, Exchange, MeasureWindow, ResponseWindow, bucket},
    service::scheduler,
};
use dispatcher_tests::{case::Case, datapath::{Backend, Datapath, VIP, World, action, this_window, usable}, packet_builder::{ACK, FIN, PacketBuilder, RST, SYN, eth}};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{flows::Family, tcp_established::age_all};

/// The server's initial sequence number in most cases: its bytes wrap past 2³².
const ISN: u32 = u32::MAX - 700;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let syn = || f.tcp(1001, SYN);
        let ack = move |given: u32| acknowledging(f.tcp(1001, ACK), given);
        let tagged = move |given: u32| acknowledging(f.on(eth().vlan(7)).tcp(1001, 80, ACK), given);
        let slot = f.web_slot(1);
        let case = |name| f.case_in(World::standard().measured(), name);
        vec![
            case("bytes count as they are acknowledged, once, and beyond 2^32")
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .then(move |d| delivered(d, slot, 0))
                .follows(ack(1000), slot)
                .follows(ack(1000), slot)
                .follows(ack(400), slot)
                .then(move |d| delivered(d, slot, 1000))
                .follows(tagged(2500), slot)
                .then(move |d| delivered(d, slot, 2500))
                .follows(acknowledging(f.tcp(1001, FIN | ACK), 2600), slot)
                .follows(acknowledging(f.tcp(1001, RST | ACK), 9000), slot)
                .then(move |d| delivered(d, slot, 2600)),
            case("a SYN on an established connection changes nothing")
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .follows(ack(1000), slot)
                .follows(syn(), slot)
                .follows(ack(1100), slot)
                .then(move |d| delivered(d, slot, 1100)),
            case("a port that is used again begins anew")
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .follows(acknowledging(f.tcp(1001, FIN | ACK), 500), slot)
                .then(|d| age_all(d, 2))
                .opens(syn(), f.web_slot(2))
                .follows(f.tcp(1001, ACK).tcp_numbers(1, 77, 9), f.web_slot(2))
                .follows(f.tcp(1001, ACK).tcp_numbers(1, 177, 9), f.web_slot(2))
                .then(move |d| {
                    ensure!(exchange(d)?.base == 76, "{:?}", exchange(d)?);
                    ensure!(d.responses(f.web_slot(2))?.delivered == 100);
                    ensure!(d.responses(slot)?.delivered == 500);
                    Ok(())
                }),
            case("a port that is used again at once begins anew")
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .follows(acknowledging(f.tcp(1001, FIN | ACK), 500), slot)
                .opens(syn(), slot)
                .follows(f.tcp(1001, ACK).tcp_numbers(1, 77, 9), slot)
                .follows(f.tcp(1001, ACK).tcp_numbers(1, 177, 9), slot)
                .then(move |d| {
                    ensure!(exchange(d)?.base == 76, "{:?}", exchange(d)?);
                    ensure!(d.responses(slot)?.delivered == 600);
                    Ok(())
                }),
            case("a connection whose handshake was not measured: bytes count from now on")
                .then(move |d| d.set_backend(&Backend { measured: false, ..of(slot, f) }))
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .then(move |d| d.set_backend(&Backend { measured: true, ..of(slot, f) }))
                .follows(request(ack(5000)), slot)
                .follows(ack(5300), slot)
                .then(move |d| {
                    let (exchange, responses) = (exchange(d)?, d.responses(slot)?);
                    ensure!(exchange.times == 0 && exchange.pending == 0, "{exchange:?}");
                    ensure!(responses.delivered == 300, "{responses:?}");
                    ensure!(responses.buckets.iter().sum::<u64>() == 0, "{responses:?}");
                    Ok(())
                }),
            f.case("where nothing is measured nothing is kept")
                .opens(syn(), slot)
                .follows(ack(0), slot)
                .follows(ack(1000), slot)
                .then(move |d| {
                    let window = d.window(slot)?;
                    ensure!(window == MeasureWindow::ZERO, "{window:?}");
                    Ok(())
                }),
            timed(f, "a response is timed from the first segment of its request", ack),
            timed(f, "a response is timed behind a VLAN tag, too", tagged),
            picks_by_response(f),
            picks_by_bytes(f),
        ]
    })
}

fn of(slot: u16, f: Family) -> Backend {
    usable(slot, f.web())
}

/// A segment that acknowledges this many bytes of the server.
fn acknowledging(packet: PacketBuilder, given: u32) -> PacketBuilder {
    packet.tcp_numbers(1, ISN.wrapping_add(1).wrapping_add(given), 512)
}

fn request(packet: PacketBuilder) -> PacketBuilder {
    packet.payload(b"GET / HTTP/1.1\r\n\r\n")
}

/// The measurement of the only connection.
fn exchange(d: &Datapath) -> Result<Exchange> {
    let ways = d.ways()?;
    ensure!(ways.len() == 1, "{ways:?}");
    d.exchange(ways[0].0)
}

fn delivered(d: &Datapath, slot: u16, want: u64) -> Result<()> {
    let (exchange, window) = (exchange(d)?, d.window(slot)?);
    let counted = d.responses(slot)?.delivered;
    let low = (exchange.progress as u32).wrapping_sub(exchange.base as u32).wrapping_sub(1);
    ensure!(exchange.base as u32 == ISN, "{exchange:?}");
    ensure!(exchange.base >> 32 << 32 | u64::from(low) == want, "{exchange:?}, expected {want}");
    ensure!(counted == want, "{counted} bytes are counted, expected {want}");
    // The window may have ended meanwhile.
    ensure!(window.bytes & ((1 << 44) - 1) <= want, "{window:?}, expected at most {want}");
    Ok(())
}

/// SYN, wait, ACK, request in two segments, wait, answer: the measured times are those that passed.
fn timed(f: Family, name: &str, ack: impl Fn(u32) -> PacketBuilder + Copy + 'static) -> Case {
    let world = || World::standard().measured();
    f.case_in(world(), name).then(move |d| {
        for _ in 0..5 {
            if exchange_is_timed(d, f, ack)? {
                return Ok(());
            }
            d.refill(&world())?;
        }
        anyhow::bail!("five handshakes took longer than the server thinks")
    })
}

/// Whether one exchange was timed. If the machine stands still during the handshake, nothing is left of the response's time.
fn exchange_is_timed(d: &Datapath, f: Family, ack: impl Fn(u32) -> PacketBuilder) -> Result<bool> {
    let slot = f.web_slot(1);
    let run = |packet: PacketBuilder| {
        let ran = d.run(&packet.build().bytes)?;
        ensure!(ran.action == action::TX, "{ran:?}");
        Ok(())
    };
    let (shake, think) = (Duration::from_millis(5), Duration::from_millis(30));
    let began = Instant::now();
    run(f.tcp(1001, SYN))?;
    sleep(shake);
    run(ack(0))?;
    let longest_shake = began.elapsed();
    if longest_shake >= think {
        return Ok(false);
    }
    let began = Instant::now();
    run(request(ack(0)))?;
    sleep(think);
    run(request(ack(0)))?;
    run(ack(900))?;
    let longest = began.elapsed();
    run(ack(1800))?;
    let (exchange, counts) = (exchange(d)?, d.responses(slot)?);
    let (handshake, response) = (exchange.times & 0xffff_ffff, exchange.times >> 32);
    within(handshake, shake, longest_shake).context("handshake")?;
    within(response, think.saturating_sub(longest_shake), longest - shake).context("response")?;
    ensure!(counts.micros == response && counts.delivered == 1800, "{counts:?}");
    let mut buckets = [0; 14];
    buckets[bucket(response)] = 1;
    ensure!(counts.buckets == buckets && exchange.pending == 0, "{counts:?}");
    let mean = ResponseWindow(d.window(slot)?.responses).0 & 0xffff_ffff;
    ensure!(mean == response, "{mean}, expected {response}");
    ensure!(d.ways()?[0].1.state() == State::Established);
    Ok(true)
}

fn within(micros: u64, least: Duration, most: Duration) -> Result<()> {
    let is = Duration::from_micros(micros);
    ensure!(is + Duration::from_micros(1) >= least && is <= most, "{is:?}: {least:?} to {most:?}");
    Ok(())
}

/// Acts within one averaging window; repeats if the window ended meanwhile.
fn in_one_window(d: &mut Datapath, mut act: impl FnMut(&mut Datapath, u64) -> Result<()>) -> Result<()> {
    for _ in 0..10 {
        let window = this_window();
        let acted = act(d, window);
        if this_window() == window {
            return acted;
        }
    }
    anyhow::bail!("ten windows passed")
}

fn responded(window: u64, micros: &[u64]) -> MeasureWindow {
    let with = |w: ResponseWindow, m: &u64| w.with(window, *m);
    let responses = micros.iter().fold(ResponseWindow::default(), with).0;
    MeasureWindow { responses, bytes: 0 }
}

fn gave(window: u64, bytes: u64) -> MeasureWindow {
    MeasureWindow { responses: 0, bytes: ByteWindow::new(window, bytes).0 }
}

/// The slot that a new connection goes to.
fn opened(d: &Datapath, packet: PacketBuilder) -> Result<u16> {
    let ran = d.run(&packet.build().bytes)?;
    ensure!(ran.action == action::TX, "{ran:?}");
    Ok(u16::from_be_bytes([ran.bytes[4], ran.bytes[5]]))
}

fn picks_by_response(f: Family) -> Case {
    let world = World::standard().measured().scheduled(scheduler::RESPONSE);
    let slot = move |n| f.web_slot(n);
    f.case_in(world, "rtt: the shortest mean of this window")
        .opens(f.tcp(1, SYN), slot(1))
        .opens(f.tcp(2, SYN), slot(2))
        .then(move |d| {
            let mut port = 1000;
            in_one_window(d, |d, w| {
                // An earlier attempt that took too long has left connections.
                for (n, active) in [(1, 1), (2, 1), (3, 0)] {
                    d.set_active_count(slot(n), ActiveCount(active * ActiveCount::ACTIVE))?;
                }
                let mut opens = |d: &mut Datapath, windows: [MeasureWindow; 3]| {
                    for (n, window) in (1..).zip(windows) {
                        d.set_window(slot(n), window)?;
                    }
                    port += 1;
                    opened(d, f.tcp(port, SYN))
                };
                let none = MeasureWindow::ZERO;
                let fast = opens(d, [responded(w, &[90, 30]), responded(w, &[50]), none])?;
                ensure!(fast == slot(2), "shortest mean: {fast}");
                // Values of an earlier window do not count; without values the fewest connections decide.
                let stale = opens(d, [responded(w - 1, &[1]), none, none])?;
                ensure!(stale == slot(3), "an old window: {stale}");
                let own = opens(d, [responded(w, &[70]), none, responded(w - 1, &[1])])?;
                ensure!([slot(1), slot(3)].contains(&own), "the mean of the others: {own}");
                Ok(())
            })
        })
}

fn picks_by_bytes(f: Family) -> Case {
    let world = World::standard().measured().scheduled(scheduler::BYTES);
    let slot = move |n| f.web_slot(n);
    f.case_in(world, "xmitbyte: the fewest bytes in this window, then the fewest connections")
        .opens(f.tcp(1, SYN), slot(1))
        .opens(f.tcp(2, SYN), slot(2))
        .opens(f.tcp(3, SYN), slot(3))
        .then(move |d| {
            let mut port = 1000;
            in_one_window(d, |d, w| {
                for (n, bytes) in [(1, 500), (2, 300), (3, 400)] {
                    d.set_window(slot(n), gave(w, bytes))?;
                }
                port += 1;
                let least = opened(d, f.tcp(port, SYN))?;
                ensure!(least == slot(2), "fewest bytes: {least}");
                d.set_window(slot(1), gave(w - 1, 900))?;
                port += 1;
                let idle = opened(d, f.tcp(port, SYN))?;
                ensure!(idle == slot(1), "none in this window: {idle}");
                Ok(())
            })
        })
}

/// A backend as the schedulers see it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    takes: bool,
    active: u64,
    responses: Option<u64>,
    bytes: u64,
}

/// The rules as documented: smallest value, then fewest connections, then position.
fn expected(seen: &[Seen], scheduler: u8) -> Option<usize> {
    let takers = || seen.iter().enumerate().filter(|(_, seen)| seen.takes);
    let samples: Vec<u64> = takers().filter_map(|(_, seen)| seen.responses).collect();
    let (count, sum) = (samples.len() as u64, samples.iter().sum::<u64>());
    let value = |seen: &Seen| match (scheduler, seen.responses) {
        (scheduler::BYTES, _) => seen.bytes,
        // Multiplied by the number of samples, so that the mean of the others is exact.
        (_, Some(sample)) => sample * count,
        (_, None) => sum,
    };
    takers().min_by_key(|(i, seen)| (value(seen), seen.active, *i)).map(|(i, _)| i)
}

/// Both schedulers over random backends, up to the 256 that they compare, against the rules.
#[test]
fn measured_schedulers_follow_their_rules() {
    if !dispatcher_tests::datapath::available() {
        return;
    }
    let mut random = SmallRng::seed_from_u64(29);
    for scheduler in [scheduler::RESPONSE, scheduler::BYTES] {
        let backends: Vec<_> = (11..267).map(|slot| usable(slot, 1)).collect();
        let mut world = World::empty().service(1, VIP.into(), 80, 6, 0).scheduled(scheduler);
        world.buckets = 1 << 12;
        world.backends.clone_from(&backends);
        Datapath::with(&world, |d| {
            let mut port = 1;
            for round in 0..150 {
                let count = if round % 10 == 0 { 256 } else { random.random_range(1..40) };
                let few = random.random_range(1..4);
                let seen: Vec<Seen> = (0..count)
                    .map(|_| Seen {
                        takes: random.random_range(0..4) != 0,
                        active: random.random_range(0..few),
                        responses: random.random_bool(0.6).then(|| 70 + random.random_range(0..few)),
                        bytes: random.random_range(0..few),
                    })
                    .collect();
                let ring: Vec<u16> = (11..11 + count).collect();
                d.set_ring(1, &ring)?;
                in_one_window(d, |d, window| {
                    let off = |seen: &Seen| if seen.takes { 0 } else { NEW };
                    let of = seen.iter().zip(&backends);
                    let of: Vec<_> =
                        of.map(|(s, b)| Backend { flags: b.flags & !off(s), ..*b }).collect();
                    d.set_backends(&of)?;
                    for (seen, backend) in seen.iter().zip(&backends) {
                        d.set_active_count(backend.slot, ActiveCount(seen.active << 32))?;
                        let samples: Vec<_> = seen.responses.into_iter().collect();
                        let bytes = gave(window, seen.bytes).bytes;
                        d.set_window(backend.slot, MeasureWindow { bytes, ..responded(window, &samples) })?;
                    }
                    port += 1;
                    let frame = Family::V4.tcp(port, SYN).build().bytes;
                    let ran = d.run(&frame)?;
                    let taken = (ran.action == action::TX)
                        .then(|| usize::from(u16::from_be_bytes([ran.bytes[4], ran.bytes[5]])) - 11);
                    let want = expected(&seen, scheduler);
                    ensure!(taken == want, "{scheduler}: {taken:?}, expected {want:?}: {seen:?}");
                    Ok(())
                })?;
            }
            Ok(())
        })
        .unwrap();
    }
}
