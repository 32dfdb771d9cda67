//! Corrects the counts of connections. A controller that was killed between its swap of a way and its change of the counts
//! leaves them wrong.
//!
//! While packets flow a pass over the table and the counts never agree exactly. So a difference counts only if two passes,
//! at least [`APART`] apart, found the same connections, and the count was the same before and after each of them: then
//! no change was in progress, and the difference is an error. An atomic add corrects it, like any other change.

use std::time::{Duration, Instant};

use dispatcher_common::{
    connection::{STAMP_BITS, Way},
    counts::ActiveCount,
    limits::MAX_SLOTS,
};

use super::{ActiveCounts, SlotCounts, Sweep};

/// Time between two passes that are compared: longer than any CPU takes from its swap of a way to its change of the counts.
const APART: Duration = Duration::from_secs(1);
/// Index of the half-open connections of all slots, after the slots.
const HALF_OPEN: usize = MAX_SLOTS as usize;

/// Identifies a set of connections: sums over them, by slot and, at [`HALF_OPEN`], over all that are half-open.
#[derive(Clone, Debug)]
pub(super) struct Marks(Vec<u64>);

impl Default for Marks {
    fn default() -> Self {
        Self(vec![0; HALF_OPEN + 1])
    }
}

impl Marks {
    /// Adds a connection, without the time of its last packet.
    #[inline]
    pub(super) fn add(&mut self, way: Way) {
        const STAMP: u64 = ((1 << STAMP_BITS) - 1) << 16;
        let mark = way.0 & !STAMP;
        let of_slot = &mut self.0[way.slot() as usize];
        *of_slot = of_slot.wrapping_add(mark);
        if ActiveCount(ActiveCount::of(way)).half_open() != 0 {
            self.0[HALF_OPEN] = self.0[HALF_OPEN].wrapping_add(mark);
        }
    }
}

/// One count as a pass saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The count; `None` if it changed during the pass.
    count: Option<u64>,
    /// The number of connections in the table.
    held: u64,
    /// The mark of these connections.
    mark: u64,
}

/// The results of an earlier pass, to compare with those of the next.
#[derive(Debug, Default)]
pub(super) struct Recount {
    earlier: Option<(Instant, Vec<Seen>)>,
}

impl Recount {
    /// The counts at the beginning of a pass.
    pub(super) fn begin(counts: &ActiveCounts) -> Vec<u64> {
        let slots = (0..MAX_SLOTS).map(|slot| counts.slot(slot).0);
        slots.chain([counts.half_open()]).collect()
    }

    /// Compares the result of a pass that began at `started` with the counts of `before`, and corrects wrong counts.
    pub(super) fn end(
        &mut self,
        counts: &ActiveCounts,
        started: Instant,
        before: &[u64],
        sweep: &Sweep,
    ) {
        if let Some((at, _)) = &self.earlier
            && started.saturating_duration_since(*at) < APART
        {
            return;
        }
        let after = Self::begin(counts);
        let half_open = sweep.slots.iter().map(|slot| u64::from(slot.half_open)).sum();
        let held = sweep.slots.iter().map(word).chain([half_open]);
        let pairs = before.iter().zip(&after).zip(held).zip(&sweep.marks.0);
        let seen: Vec<_> = pairs
            .map(|(((before, after), held), mark)| {
                let count = (before == after).then_some(*after);
                Seen { count, held, mark: *mark }
            })
            .collect();
        let earlier = self.earlier.take().map(|(_, earlier)| earlier).unwrap_or_default();
        for (index, (earlier, seen)) in earlier.iter().zip(&seen).enumerate() {
            if let (true, Some(count)) = (earlier == seen, seen.count)
                && count != seen.held
            {
                set_right(counts, index, count, seen.held);
            }
        }
        self.earlier = Some((Instant::now(), seen));
    }
}

fn set_right(counts: &ActiveCounts, index: usize, count: u64, held: u64) {
    let by = held.wrapping_sub(count);
    if index == HALF_OPEN {
        counts.add_half_open(by);
        tracing::info!(
            "half-open connections: {count} counted, {held} in the table: count corrected"
        );
        return;
    }
    counts.add(index, by);
    let (count, held) = (ActiveCount(count), ActiveCount(held));
    tracing::info!(
        "slot {index}: {} active and {} half-open connections counted, {} and {} in the table: count corrected",
        count.active(),
        count.half_open(),
        held.active(),
        held.half_open()
    );
}

/// The correct count of a slot.
fn word(slot: &SlotCounts) -> u64 {
    u64::from(slot.active()) << 32 | u64::from(slot.half_open)
}
