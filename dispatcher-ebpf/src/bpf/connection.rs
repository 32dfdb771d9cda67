//! Is the flow known? Then its connection moves on, and the packet goes where the connection's others went.

use dispatcher_common::{
    backend::{UP, USABLE},
    connection::{State, WAYS, Way},
    flow::{first_bucket, second_bucket},
    reason::Reason,
};
use dispatcher_ebpf::{
    exit::{Exit, NO_SERVICE, Outcome},
    occupancy::{lowest, matching},
    tracking::{self, Event},
};

use super::{
    config,
    maps::{self, Record},
    pipeline::Packet,
    place,
    word::Word,
};

/// Attempts to write a word that others write, too. A flow's packets come by one CPU, and the controller changes only
/// ways that have expired: more than one repetition is rare.
const ATTEMPTS: u32 = 3;

/// A slot that is none: the packet has no connection.
const NO_CONNECTION: u32 = u32::MAX;

/// A known connection: its word, the word's place, and what it said.
struct Known {
    word: Word,
    way: Way,
    bucket: u32,
    /// Number of the way, or [`IN_OVERFLOW`].
    number: usize,
}

/// Number of what is no way: an entry of the overflow map. Not an `Option`, whose absent payload would be a register that
/// was never written, and as such refused.
const IN_OVERFLOW: usize = WAYS;

/// The slot of the packet's connection, or none if it has no connection.
#[inline(always)]
pub(super) fn resume(packet: &Packet) -> Result<Option<u32>, Exit> {
    let slot = Outcome(dispatcher_resume(packet)).result()?;
    Ok((slot != NO_CONNECTION).then_some(slot))
}

/// As [`resume`], its result packed. A global function: the verifier checks it once, for any packet, and not once for
/// each way that leads here.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_resume(packet: *const Packet) -> u64 {
    // SAFETY: the caller above passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let slot = match find(packet.hash) {
        Some(known) => advance(packet, &known),
        None => Ok(NO_CONNECTION),
    };
    Outcome::new(slot).0
}

#[inline(always)]
fn find(hash: u64) -> Option<Known> {
    let mask = config::bucket_mask();
    in_bucket(first_bucket(hash, mask), hash)
        .or_else(|| in_bucket(second_bucket(hash, mask), hash))
        .or_else(|| in_overflow(hash))
}

#[inline(always)]
fn in_bucket(bucket: u32, hash: u64) -> Option<Known> {
    let ways = maps::ways(bucket)?;
    let found = matching(|number| ways.way(number), hash);
    if found == 0 {
        return None;
    }
    let number = lowest(found);
    let word = ways.word(number);
    known(word, bucket, number, hash)
}

/// The overflow map is consulted only while it holds something.
#[inline(always)]
fn in_overflow(hash: u64) -> Option<Known> {
    if maps::overflow_entries()?.load() == 0 {
        return None;
    }
    known(maps::overflow(hash)?, 0, IN_OVERFLOW, hash)
}

/// Reads the word once more: what it says now is what counts.
#[inline(always)]
fn known(word: Word, bucket: u32, number: usize, hash: u64) -> Option<Known> {
    let way = Way(word.load());
    let is_it = way.matches(hash) && way.state() != State::Free;
    is_it.then_some(Known { word, way, bucket, number })
}

#[inline(always)]
fn advance(packet: &Packet, known: &Known) -> Result<u32, Exit> {
    let way = known.way;
    let slot = way.slot();
    if packet.event() == Event::Open || !way.is_tcp() {
        let is_alive = maps::forward(slot).flags() & (USABLE | UP) == USABLE | UP;
        if packet.event() == Event::Open && way.state() == State::Established {
            same_flow(packet, known)?;
        }
        let ended = packet.event() == Event::Open && way.state() == State::Closing;
        if ended || !is_alive {
            return place::renew(packet, known.word, way);
        }
        if packet.event() == Event::Open
            && way.state() == State::HalfOpen
            && let Some(counts) = maps::backend_counts(slot)
        {
            counts.retransmissions.add(1);
        }
    }
    touch(packet, known);
    Ok(slot)
}

/// Moves state and stamp on. If that fails for good, the packet is forwarded all the same.
#[inline(always)]
fn touch(packet: &Packet, known: &Known) {
    let mut way = known.way;
    for _ in 0..ATTEMPTS {
        let state = tracking::next(way.state(), packet.event());
        let moved = Way::new(packet.hash, packet.tick, state, way.slot());
        if moved == way {
            return;
        }
        if known.word.replace(way.0, moved.0) {
            if state == State::Established && way.state() == State::HalfOpen {
                write_record(packet, known);
            }
            return;
        }
        way = Way(known.word.load());
        if !way.matches(packet.hash) || way.state() == State::Free {
            return;
        }
    }
}

/// Whoever makes a flow established records it; at its first packet that would cost a second cold line.
#[inline(always)]
fn write_record(packet: &Packet, known: &Known) {
    if let Some(record) = record(known) {
        record.store(packet.flow.record(packet.tick));
    }
}

/// Entries of the overflow map have no record.
#[inline(always)]
fn record(known: &Known) -> Option<Record> {
    if known.number == IN_OVERFLOW { None } else { maps::record(known.bucket, known.number) }
}

/// Rules out that a SYN is given another flow's connection, whose fingerprint it has.
#[inline(always)]
fn same_flow(packet: &Packet, known: &Known) -> Result<(), Exit> {
    let Some(record) = record(known) else { return Ok(()) };
    if packet.flow.is(&record.load()) {
        return Ok(());
    }
    let service = maps::service_of(known.way.slot()).unwrap_or(NO_SERVICE);
    Err(Exit::of(service, Reason::Collision))
}
