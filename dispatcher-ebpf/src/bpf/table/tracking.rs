//! What a packet does to its connection: state and stamp move on, and the packet goes where the connection's others went.

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

/// Attempts to write a word that others write, too. A flow's packets come by one CPU, and the controller changes only
/// ways that have expired: more than one repetition is rare.
const ATTEMPTS: u32 = 3;

/// What a packet finds.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Its connection, in this slot.
    Slot(u32),
    /// A connection that is to be given a new slot, in place.
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

/// Finds the packet's connection, and moves it on.
#[inline(always)]
pub(crate) fn resume(packet: &Packet) -> Result<Found, Exit> {
    if packet.is_to_be_found == 0 && !maps::overflows() {
        return Ok(Found::Nothing);
    }
    search(packet)
}

/// Gives the packet's connection, if it is still to be renewed, a new slot in place; none if it is not there any more.
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
    // Somebody else was faster: if with a new choice, it is this flow's, too.
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
    /// As [`resume`], whatever the packet says of the table.
    fn search(packet: &Packet) -> Result<Found, Exit> as dispatcher_resume {
        match find(packet) {
            Some(known) => advance(packet, &known),
            None => Ok(Found::Nothing),
        }
    }

    /// Moves the packet's connection on, and nothing else: for packets that end it.
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

/// Whether the packet is to go elsewhere than its connection did: a SYN or a UDP packet whose backend is down, and a SYN on
/// an idle connection that has ended, or whose backend takes no new ones.
///
/// While it is not idle it may be alive, and the FIN, the RST and the SYN forged: its server is to answer the SYN.
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

/// Counts a SYN that goes where its connection is: one of a half-open connection is seen again, one after the end opens
/// another connection. One that the backend sent back is not the client's once more.
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

/// Moves state and stamp on. If that fails for good, the packet is forwarded all the same.
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

/// Writes the flow record when the flow becomes established: at its first packet that would cost a second cold line. One that was
/// established before has its record, and is as old as that says; unless it is of an older layout's.
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

/// Rules out that a SYN is given another flow's connection, whose fingerprint it has.
#[inline(always)]
fn same_flow(packet: &Packet, known: &Known) -> Result<(), Exit> {
    let Some(record) = record(known) else { return Ok(()) };
    if packet.flow.is(&record.load()) {
        return Ok(());
    }
    let service = maps::service_of(known.way.slot());
    Err(Exit::of(service, Reason::Collision))
}
