//! Finds the connection of a flow, in the table or in the overflow map.

use dispatcher_common::connection::Way;

use super::position::{Position, buckets};
use crate::bpf::{global::global, maps, packet::Packet, shared_word::Word};

/// A known connection.
pub(super) struct Known {
    /// Its entry.
    pub(super) word: Word,
    /// The entry, as read.
    pub(super) way: Way,
    /// Its position; [`Position::NOWHERE`] for an entry of the overflow map.
    pub(super) position: Position,
}

/// The slot of the packet's connection, if there is one; the connection stays as it is.
#[inline(always)]
pub(crate) fn peek(packet: &Packet) -> Option<u32> {
    find(packet).map(|known| known.way.slot())
}

/// Finds the packet's connection.
#[inline(always)]
pub(super) fn find(packet: &Packet) -> Option<Known> {
    let mut position = Position::NOWHERE;
    if packet.is_to_be_found != 0 {
        position = position_of(packet.hash);
    }
    if position == Position::NOWHERE {
        return in_overflow(packet.hash);
    }
    known(maps::ways(position.bucket())?.word(position.number()), position, packet.hash)
}

global! {
    /// The position of the flow with this hash. The verifier continues from here once, not once for each of the sixteen ways.
    pub(crate) fn position_of(hash: u64) -> Position as dispatcher_find {
        let [first, second] = buckets(hash);
        let (Some(in_first), Some(in_second)) = (maps::ways(first), maps::ways(second)) else {
            return Position::NOWHERE;
        };
        // The processor fetches both cache lines before either is read.
        in_second.touch();
        for (bucket, ways) in [(first, in_first), (second, in_second)] {
            if let Some((number, _)) = ways.find(hash) {
                return Position::new(bucket, number);
            }
        }
        Position::NOWHERE
    }
}

#[inline(always)]
fn in_overflow(hash: u64) -> Option<Known> {
    if !maps::overflows() {
        return None;
    }
    known(maps::overflow(hash)?, Position::NOWHERE, hash)
}

/// Reads the word again, since it may have changed.
#[inline(always)]
fn known(word: Word, position: Position, hash: u64) -> Option<Known> {
    let way = Way(word.load());
    way.matches(hash).then_some(Known { word, way, position })
}
