//! The thread that sweeps the table continuously, in slices, so that it never occupies a CPU for long.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{
    ConnectionTable, Expired, SlotCounts, Sweep, Timeouts, recount::Recount, timeouts::Ages,
};
use crate::datapath::clock;

/// A pass over the whole table takes this long, pauses included...
const PERIOD: Duration = Duration::from_millis(1500);
/// ... or longer, where the table is so large that sweeping would take more than one part in this many of that time...
const SHARE: u32 = 50;
/// ... but never longer than this, which is less than a tick of the connections' clock.
const LONGEST: Duration = Duration::from_secs(4);
/// Buckets of a slice: 2¹⁷ ways, a fraction of a millisecond.
const SLICE: usize = 1 << 14;

/// The result of a pass over the whole table.
#[derive(Clone, Debug)]
pub struct SweepResult {
    /// Passes so far; 0: none yet, so the rest is unknown.
    pub pass: u64,
    /// When the pass began. All connections of a slot that left every ring a second before have been counted.
    pub started: Instant,
    /// When it ended.
    pub finished: Instant,
    /// Connections by slot.
    pub slots: Vec<SlotCounts>,
    /// Connections in the overflow map (which are counted in `slots`, too).
    pub overflow: u32,
    /// Connections removed since the sweeper was started.
    pub expired: Expired,
}

impl SweepResult {
    /// Counts of a slot.
    #[must_use]
    pub fn slot(&self, slot: u32) -> SlotCounts {
        self.slots.get(slot as usize).copied().unwrap_or_default()
    }

    /// Ways in use, the overflow map's entries included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.total())).sum()
    }
}

/// The sweeping thread; dropping it stops the thread.
#[derive(Debug)]
pub struct Sweeper {
    shared: Arc<Shared>,
    /// The timeouts in force.
    told: Arc<Timeouts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    table: Arc<ConnectionTable>,
    /// Held while a slice is swept.
    timeouts: Mutex<Arc<Timeouts>>,
    result: ArcSwap<SweepResult>,
    requests: Mutex<Requests>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Requests {
    /// Passes asked for so far.
    asked: u64,
    /// How many of these are answered: by a pass that began after the request.
    answered: u64,
    stop: bool,
}

impl Sweeper {
    /// Starts sweeping.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(table: Arc<ConnectionTable>, timeouts: Timeouts) -> io::Result<Self> {
        let begin = Instant::now();
        let result = SweepResult {
            pass: 0,
            started: begin,
            finished: begin,
            slots: Vec::new(),
            overflow: 0,
            expired: Expired::default(),
        };
        let told = Arc::new(timeouts);
        let shared = Arc::new(Shared {
            table,
            timeouts: Mutex::new(Arc::clone(&told)),
            result: ArcSwap::from_pointee(result),
            requests: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        let thread = Builder::new().name("sweeper".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared, told, thread: Some(thread) })
    }

    /// Sets the timeouts; they are in force when this returns. If they differ from the former ones, it waits for the slice
    /// that is being swept. A slot that a new backend gets must be set before it is published: otherwise its new connections
    /// would be removed as the old backend's.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        if *self.told != timeouts {
            self.told = Arc::new(timeouts);
            *self.shared.timeouts() = Arc::clone(&self.told);
        }
    }

    /// The result of the last pass.
    #[must_use]
    pub fn latest(&self) -> Arc<SweepResult> {
        self.shared.result.load_full()
    }

    /// The result of a pass that begins now. Blocks until it ends: about 2 ms for 2²⁰ ways.
    #[must_use]
    pub fn count_now(&self) -> Arc<SweepResult> {
        let mut requests = self.shared.lock();
        requests.asked += 1;
        let ours = requests.asked;
        self.shared.changed.notify_all();
        let unanswered = |requests: &mut Requests| requests.answered < ours && !requests.stop;
        let waited = self.shared.changed.wait_while(requests, unanswered);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.latest()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The pause after one of `slices` slices, which took this long.
fn rest(took: Duration, slices: u32) -> Duration {
    (took * SHARE).clamp(PERIOD / slices, LONGEST / slices)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeouts(&self) -> MutexGuard<'_, Arc<Timeouts>> {
        self.timeouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut expired, mut recount) = (Expired::default(), Recount::default());
        let mut pass = 0;
        // The first pass has no pauses; later ones have pauses unless somebody waits.
        let mut hurry = true;
        loop {
            let asked = self.lock().asked;
            let finished = self.pass(pass + 1, hurry, &mut expired, &mut recount);
            let mut requests = self.lock();
            if requests.stop {
                requests.answered = u64::MAX;
                self.changed.notify_all();
                return;
            }
            if finished {
                pass += 1;
                requests.answered = asked;
                self.changed.notify_all();
            }
            hurry = requests.asked > requests.answered;
        }
    }

    /// Makes one pass. Returns false if it was interrupted: by a stop, or because somebody waits for a pass that begins now.
    fn pass(&self, pass: u64, hurry: bool, expired: &mut Expired, recount: &mut Recount) -> bool {
        let (started, counts) = (Instant::now(), self.table.active());
        let before = Recount::begin(counts);
        let last = self.result.load_full();
        let closing = |slot| last.slot(slot).closing;
        let has_room = last.connections() < self.table.capacity();
        let mut ages = Ages::new(Arc::clone(&self.timeouts()), has_room, closing);
        let mut sweep = Sweep { expired: *expired, ..Sweep::default() };
        let slices = self.table.buckets().div_ceil(SLICE).max(1);
        for slice in 0..slices {
            let timeouts = self.hold(&mut ages, has_room, closing);
            let (first, began) = (slice * SLICE, Instant::now());
            self.table.sweep(first..first + SLICE, clock::now(), &ages, &mut sweep);
            drop(timeouts);
            *expired = sweep.expired;
            if !hurry && self.pause(rest(began.elapsed(), slices as u32)) {
                return false;
            }
        }
        let timeouts = self.hold(&mut ages, has_room, closing);
        let overflow = self.table.sweep_overflow(clock::now(), &ages, &mut sweep);
        drop(timeouts);
        let overflow = overflow.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot sweep the overflow map");
            0
        });
        *expired = sweep.expired;
        recount.end(counts, started, &before, &sweep);
        let result = SweepResult {
            pass,
            started,
            finished: Instant::now(),
            slots: sweep.slots,
            overflow,
            expired: *expired,
        };
        self.result.store(Arc::new(result));
        true
    }

    /// Locks the timeouts while a slice is swept, and updates the ages to match them.
    fn hold(
        &self,
        ages: &mut Ages,
        has_room: bool,
        closing: impl Fn(u32) -> u32,
    ) -> MutexGuard<'_, Arc<Timeouts>> {
        let timeouts = self.timeouts();
        if !ages.are_of(&timeouts) {
            *ages = Ages::new(Arc::clone(&timeouts), has_room, closing);
        }
        timeouts
    }

    /// Waits; returns true if the pass must be interrupted.
    fn pause(&self, length: Duration) -> bool {
        let idle = |requests: &mut Requests| !requests.stop && requests.asked == requests.answered;
        let waited = self.changed.wait_timeout_while(self.lock(), length, idle);
        let (mut requests, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !idle(&mut requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_are_swept_more_slowly() {
        let micros = Duration::from_micros;
        // A small table, a million connections, ten millions on a quiet machine and on a busy one.
        for (took, slices, pass) in
            [(50, 1, 1500), (250, 16, 1500), (230, 128, 1500), (600, 128, 3840)]
        {
            assert_eq!(rest(micros(took), slices) * slices, Duration::from_millis(pass));
        }
        assert_eq!(rest(micros(5000), 128) * 128, LONGEST);
    }
}
