//! Measures servers by their clients' packets: the time until the answer, and the bytes that arrived.
//!
//! Only connections of backends that are measured come here. The clock is read precisely at a SYN, at the packet that ends a
//! handshake, at the first segment of a request and at the first acknowledgement of its answer; other packets cost one
//! cache line. The CPU that receives a flow's packets changes its exchange. If two CPUs receive them, each byte and each response
//! still counts once: the CPU that wins the compare-and-swap on `progress` or `pending` counts it.

use dispatcher_common::{
    connection::State,
    measure::{ByteWindow, Pending, Progress, ResponseWindow, bucket, window},
    net::TCP,
};
use dispatcher_ebpf::{
    measure,
    parse::{ACK, RST, Segment},
    table::tracking::{Event, event},
};

use super::{
    clock::{now, precisely},
    global::global,
    maps::{self, ExchangeWords, Ways},
    packet::Packet,
    table::{lookup, position::Position},
};

/// Attempts to add a response to a window that other CPUs add to.
const ATTEMPTS: u32 = 4;

/// Measures a packet of a slot's connection, if the backend is measured.
#[inline(always)]
pub(crate) fn observe(packet: &Packet, slot: u32) {
    if packet.is_tcp() && maps::forward(slot).is_measured() {
        let position = lookup::position_of(packet.hash);
        if position != Position::NOWHERE {
            learn(position, packet.hash, slot, packet.flags as u8, packet.segment);
        }
    }
}

/// Measures a TCP segment of a slot's connection, which is at this position.
#[inline(always)]
pub(crate) fn learn(position: Position, hash: u64, slot: u32, flags: u8, segment: Segment) {
    learn_packed(position, hash, u64::from(slot) | u64::from(flags) << 32, segment);
}

global! {
    /// As [`learn`], with slot and flags in one word: the fast path has no register for a fifth argument.
    fn learn_packed(position: Position, hash: u64, slot_and_flags: u64, segment: Segment) -> ()
    as dispatcher_measure {
        let (slot, flags) = (slot_and_flags as u32, (slot_and_flags >> 32) as u8);
        let (bucket, number) = (position.bucket(), position.number());
        let Some(exchange) = maps::exchange(bucket, number) else { return };
        if event(TCP, flags, 0) == Event::OPEN {
            // A SYN on an established connection is answered by an acknowledgement and changes nothing.
            let is_established = |ways: Ways| ways.way(number).state() == State::Established;
            if maps::ways(bucket).is_some_and(|ways| !is_established(ways)) {
                exchange.progress.store(Progress::new(hash, 0).0);
                exchange.pending.store(Pending::new(Pending::SYN, precisely()).0);
            }
        } else if flags & (ACK | RST) == ACK {
            acknowledge(exchange, hash, slot, segment);
        }
    }
}

#[inline(always)]
fn acknowledge(exchange: ExchangeWords, hash: u64, slot: u32, segment: Segment) {
    let progress = Progress(exchange.progress.load());
    let mut pending = Pending(exchange.pending.load());
    if !progress.is_of(hash) {
        // Its handshake was not measured: bytes count from here on, and there are no response times.
        exchange.times.store(0);
        exchange.pending.store(0);
        exchange.progress.store(Progress::new(hash, segment.acknowledgement()).0);
        return;
    }
    if pending.kind() == Pending::SYN {
        establish(exchange, hash, pending, segment.acknowledgement());
        pending = Pending(0);
    } else if advance(exchange, hash, slot, progress, segment)
        && pending.kind() == Pending::REQUEST
        && exchange.pending.replace(pending.0, 0)
    {
        respond(exchange, slot, pending);
        pending = Pending(0);
    }
    if segment.payload() != 0 && pending.0 == 0 && exchange.times.load() as u32 != 0 {
        exchange.pending.store(Pending::new(Pending::REQUEST, precisely()).0);
    }
}

/// At the end of the handshake: stores its time, and the server's initial sequence number.
#[inline(always)]
fn establish(exchange: ExchangeWords, hash: u64, pending: Pending, acknowledgement: u32) {
    let handshake = micros(precisely().saturating_sub(pending.since()));
    exchange.times.store(handshake);
    exchange.base.store(u64::from(acknowledgement.wrapping_sub(1)));
    exchange.progress.store(Progress::new(hash, acknowledgement).0);
    exchange.pending.store(0);
}

/// Counts the bytes that a segment acknowledges; false if there are none.
#[inline(always)]
fn advance(
    exchange: ExchangeWords,
    hash: u64,
    slot: u32,
    progress: Progress,
    segment: Segment,
) -> bool {
    let acknowledgement = segment.acknowledgement();
    let step = measure::step(progress.acknowledged(), acknowledgement);
    let moved = Progress::new(hash, acknowledgement);
    if step == 0 || !exchange.progress.replace(progress.0, moved.0) {
        return false;
    }
    let base = exchange.base.load();
    exchange.base.store(measure::base(base, progress.acknowledged(), step));
    if let Some(counts) = maps::response_counts(slot) {
        counts.delivered.add(u64::from(step));
    }
    if let Some(bytes) = maps::byte_window(slot) {
        let (held, number) = (bytes.load(), window(now()));
        // Another CPU may have started the new window: then add to it.
        if ByteWindow(held).is(number)
            || !bytes.replace(held, ByteWindow::new(number, u64::from(step)).0)
        {
            bytes.fetch_add(u64::from(step));
        }
    }
    true
}

/// Counts the time since a request without that of the handshake: the rest is the server's time.
#[inline(always)]
fn respond(exchange: ExchangeWords, slot: u32, request: Pending) {
    let handshake = exchange.times.load() as u32;
    let elapsed = micros(precisely().saturating_sub(request.since()));
    let response = elapsed.saturating_sub(u64::from(handshake));
    // Not 0, which means that there was no response.
    let shown = if response == 0 { 1 } else { response };
    exchange.times.store(u64::from(handshake) | shown << 32);
    if let Some(counts) = maps::response_counts(slot) {
        counts.micros.add(response);
        counts.bucket(bucket(response)).add(1);
    }
    let Some(responses) = maps::response_window(slot) else { return };
    let number = window(now());
    for _ in 0..ATTEMPTS {
        let held = responses.load();
        if responses.replace(held, ResponseWindow(held).with(number, response).0) {
            return;
        }
    }
}

/// Nanoseconds in microseconds: at least 1, at most what fits 32 bits.
#[inline(always)]
const fn micros(nanoseconds: u64) -> u64 {
    let micros = nanoseconds / 1000;
    if micros == 0 {
        1
    } else if micros > u32::MAX as u64 {
        u32::MAX as u64
    } else {
        micros
    }
}
