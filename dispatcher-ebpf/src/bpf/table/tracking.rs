//! Updates state and stamp of a packet's connection, and yields the slot to which the packet goes.

use dispatcher_common::{
    backend::{NEW, UP, USABLE},
    connection::{State, Way},
    reason::Reason,
};
use dispatcher_ebpf::{
    outcome::{Exit, pack, unpack},
    parse::RST,
    table::tracking::{self, Event, is_idle},
};

use super::{
    count,
    lookup::{Known, find},
    position::Position,
};
use crate::bpf::{
    backend::takes,
    global::{global, registers},
    loops,
    maps::{self, Record},
    packet::Packet,
};

/// Attempts to write a word that others write, too. One CPU handles a flow's packets, and the controller changes only ways that
/// have expired: more than one repetition is rare.
const ATTEMPTS: u32 = 3;

/// The connection of a packet.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    /// There is none.
    Nothing,
    /// It has this slot.
    Slot(u32),
    /// It has ended: it gets a new slot, in place.
    Ended,
}

/// [`Found::Nothing`] in a register: no slot.
const NOTHING: u64 = u32::MAX as u64;
/// [`Found::Ended`] in a register: no slot.
const ENDED: u64 = u32::MAX as u64 - 1;

registers! {
    Result<Found, Exit>: |found| pack(found.map(Found::to_word)), |word| unpack(word).map(Found::of_word);
}

impl Found {
    #[inline(always)]
    const fn to_word(self) -> u64 {
        match self {
            Self::Nothing => NOTHING,
            Self::Ended => ENDED,
            Self::Slot(slot) => slot as u64,
        }
    }

    #[inline(always)]
    const fn of_word(word: u64) -> Self {
        match word {
            NOTHING => Self::Nothing,
            ENDED => Self::Ended,
            slot => Self::Slot(slot as u32),
        }
    }
}

/// Finds the packet's connection, and updates it.
#[inline(always)]
pub(crate) fn resume(packet: &Packet) -> Result<Found, Exit> {
    if packet.is_to_be_found == 0 && !maps::overflows() {
        return Ok(Found::Nothing);
    }
    search(packet)
}

/// Gives the packet's connection a new slot in place, if it still needs one; none if it is no longer there.
#[inline(always)]
pub(crate) fn renew_in_place(packet: &Packet, slot: u32) -> Option<u32> {
    let Known { word, way, .. } = find(packet)?;
    if !is_to_be_renewed(packet, way) {
        return Some(way.slot());
    }
    let new = Way::new(packet.hash, packet.tick, State::HalfOpen, slot);
    if count::replace(word, way, new) {
        return Some(slot);
    }
    // Another CPU was faster. If it chose a slot, use that one.
    let now = Way(word.load());
    (now.matches(packet.hash) && now.state() == State::HalfOpen).then(|| now.slot())
}

/// Ends the packet's connection, if there is one, as if the packet were an RST.
#[inline(always)]
pub(crate) fn close(packet: &mut Packet) {
    packet.flags = u32::from(RST);
    packet.is_to_be_found = 1;
    end(packet);
}

global! {
    /// As [`resume`], after its check.
    fn search(packet: &Packet) -> Result<Found, Exit> as dispatcher_resume {
        match find(packet) {
            Some(known) => advance(packet, &known),
            None => Ok(Found::Nothing),
        }
    }

    /// Updates the packet's connection, and nothing else: for packets that end it.
    fn end(packet: &Packet) -> () as dispatcher_close {
        if let Some(known) = find(packet) {
            touch(packet, &known);
        }
    }
}

#[inline(always)]
fn advance(packet: &Packet, known: &Known) -> Result<Found, Exit> {
    let way = known.way;
    let opens = packet.event() == Event::OPEN;
    if opens && way.state() == State::Established {
        same_flow(packet, known)?;
    }
    if is_to_be_renewed(packet, way) {
        return Ok(Found::Ended);
    }
    if opens {
        count_again(packet, way);
    }
    touch(packet, known);
    Ok(Found::Slot(way.slot()))
}

/// Whether the packet's connection needs a new slot: for a SYN or a UDP packet whose backend is down, and for a SYN on an idle
/// connection that has ended, or whose backend takes no new ones.
///
/// A connection that is not idle may be alive, and its FIN, RST or SYN forged: its server must answer the SYN.
#[inline(always)]
fn is_to_be_renewed(packet: &Packet, way: Way) -> bool {
    let opens = packet.event() == Event::OPEN;
    if !opens && way.is_tcp() {
        return false;
    }
    let slot = way.slot();
    if maps::forward(slot).flags() & (USABLE | UP) != USABLE | UP {
        return true;
    }
    match way.state() {
        State::Established => {
            opens && is_idle(way, packet.tick) && !takes(maps::service_of(slot), slot, NEW)
        }
        State::Closing | State::Aborted => opens && is_idle(way, packet.tick),
        State::HalfOpen => false,
    }
}

/// Counts a SYN that goes to its connection's backend. On a half-open connection it is a retransmission, after the end it opens
/// another connection. A SYN that the backend sent back is no retransmission of the client.
#[inline(always)]
fn count_again(packet: &Packet, way: Way) {
    let slot = way.slot();
    let Some(counts) = maps::backend_counts(slot) else { return };
    match way.state() {
        State::HalfOpen if loops::is_back(packet.source, maps::forward(slot)) => {}
        State::HalfOpen => counts.retransmissions.add(1),
        State::Closing | State::Aborted => counts.connections.add(1),
        State::Established => {}
    }
}

/// Updates state and stamp. If all attempts fail, the packet is forwarded nevertheless.
#[inline(always)]
fn touch(packet: &Packet, known: &Known) {
    let event = packet.event();
    let mut way = known.way;
    for _ in 0..ATTEMPTS {
        let moved = tracking::next(way, event).touched(packet.tick);
        if moved == way {
            return;
        }
        if count::replace(known.word, way, moved) {
            if moved.state() == State::Established && way.state() != State::Established {
                keep_record(packet, known, way.state());
            }
            return;
        }
        way = Way(known.word.load());
        if !way.matches(packet.hash) {
            return;
        }
    }
}

/// Writes the flow record when the flow becomes established: at its first packet, that would cost a second cold cache line. A
/// connection that was established before keeps its record and age, unless the record is of an older layout.
#[inline(always)]
fn keep_record(packet: &Packet, known: &Known, was: State) {
    if let Some(record) = record(known)
        && (was != State::Closing || !packet.flow.is(&record.load()))
    {
        record.store(packet.flow.record(packet.tick));
    }
}

/// Entries of the overflow map have no record.
#[inline(always)]
fn record(known: &Known) -> Option<Record> {
    let position = known.position;
    if position == Position::NOWHERE {
        return None;
    }
    maps::record(position.bucket(), position.number())
}

/// Refuses a SYN whose fingerprint is that of another flow's connection.
#[inline(always)]
fn same_flow(packet: &Packet, known: &Known) -> Result<(), Exit> {
    let Some(record) = record(known) else { return Ok(()) };
    if packet.flow.is(&record.load()) {
        return Ok(());
    }
    let service = maps::service_of(known.way.slot());
    Err(Exit::of(service, Reason::Collision))
}
