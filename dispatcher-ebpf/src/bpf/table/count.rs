//! How many connections there are: what a change of a way does to the counts that all CPUs share.
//!
//! What a change raises is raised before it, what it lowers is lowered after it
//! ([`dispatcher_common::counts::ActiveCount`]).

use dispatcher_common::{connection::Way, counts::ActiveCount};

use crate::bpf::{maps, shared_word::Word};

/// Replaces a way by another, of the same connection or of a new one, and counts what changes. False if the way was another
/// by now; then nothing has changed.
#[inline(always)]
pub(crate) fn replace(word: Word, old: Way, new: Way) -> bool {
    dispatcher_replace(word.at(), old.0, new.0) != 0
}

/// As [`replace`]. A global function: it is called from many places, and the verifier walks its branches once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_replace(word: *mut u64, old: u64, new: u64) -> u64 {
    if word.is_null() {
        return 0;
    }
    // SAFETY: callers pass the address of a way; the verifier takes it for any eight bytes of memory.
    let word = unsafe { Word::new(word) };
    let (old, new) = (Way(old), Way(new));
    let (was, is) = (ActiveCount::of(old), ActiveCount::of(new));
    if was == is && old.slot() == new.slot() {
        return u64::from(word.replace(old.0, new.0));
    }
    // Half-open connections that make room for each other leave their sum alone.
    let (raised, lowered) = (is & !was & 1, was & !is & 1);
    add(new.slot(), is);
    add_half_open(raised);
    let is_done = word.replace(old.0, new.0);
    let (gone, fallen) = if is_done { (old, lowered) } else { (new, raised) };
    add(gone.slot(), ActiveCount::of(gone).wrapping_neg());
    add_half_open(fallen.wrapping_neg());
    u64::from(is_done)
}

/// Counts a connection that is about to be.
#[inline(always)]
pub(crate) fn raise(way: Way) {
    add(way.slot(), ActiveCount::of(way));
    add_half_open(ActiveCount::of(way) & 1);
}

/// Counts a connection no longer.
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
