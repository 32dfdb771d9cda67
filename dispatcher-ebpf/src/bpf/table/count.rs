//! Counts of connections, which all CPUs share: the effect of a change of an entry.
//!
//! Counts rise before the change, and fall after it ([`dispatcher_common::counts::ActiveCount`]).

use dispatcher_common::{connection::Way, counts::ActiveCount};

use crate::bpf::{global::global, maps, shared_word::Word};

global! {
    /// Replaces an entry by another, of the same connection or of a new one, and counts the change. False if the entry had changed
    /// already; then nothing changes.
    pub(crate) fn replace(word: Word, old: Way, new: Way) -> bool as dispatcher_replace {
        let (was, is) = (ActiveCount::of(old), ActiveCount::of(new));
        if was == is && old.slot() == new.slot() {
            return word.replace(old.0, new.0);
        }
        // If one half-open connection replaces another, their sum does not change.
        let (raised, lowered) = (is & !was & 1, was & !is & 1);
        add(new.slot(), is);
        add_half_open(raised);
        let is_done = word.replace(old.0, new.0);
        let (gone, fallen) = if is_done { (old, lowered) } else { (new, raised) };
        add(gone.slot(), ActiveCount::of(gone).wrapping_neg());
        add_half_open(fallen.wrapping_neg());
        is_done
    }
}

/// Counts a connection before it is entered.
#[inline(always)]
pub(crate) fn raise(way: Way) {
    add(way.slot(), ActiveCount::of(way));
    add_half_open(ActiveCount::of(way) & 1);
}

/// Removes a connection from the counts.
#[inline(always)]
pub(crate) fn lower(way: Way) {
    add(way.slot(), ActiveCount::of(way).wrapping_neg());
    add_half_open((ActiveCount::of(way) & 1).wrapping_neg());
}

/// Whether more connections are half-open than `syn_guard` allows.
#[inline(always)]
pub(crate) fn is_guarded() -> bool {
    maps::half_open().map_or(0, Word::load) > maps::syn_guard()
}

#[inline(always)]
fn add(slot: u32, amount: u64) {
    if amount != 0
        && let Some(count) = maps::active_count(slot)
    {
        count.fetch_add(amount);
    }
}

#[inline(always)]
fn add_half_open(amount: u64) {
    if amount != 0
        && let Some(count) = maps::half_open()
    {
        count.fetch_add(amount);
    }
}
