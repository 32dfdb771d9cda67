//! Time in which this process stood still: stopped by a signal, in a frozen cgroup, in a suspended or migrated machine, or
//! just without a CPU.
//!
//! Whoever did not run has measured nothing. So every time limit by which somebody else is judged counts only the time in which
//! this process ran ([`within`], [`running`]), and what failed while it stood still says nothing ([`Mark`]).
//!
//! A task beats ten times a second. A beat that comes late tells how long nothing ran. Who asks before that beat is told, too:
//! the time since the last beat counts. `CLOCK_BOOTTIME` sees what the timers' clock does not: a machine that was suspended.

use std::{
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(100);
/// A beat that comes later than this says that nothing ran meanwhile.
const LATE: Duration = Duration::from_millis(200);

/// The watch of this process, where one was started.
static WATCH: OnceLock<Watch> = OnceLock::new();

/// A time limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// What one process has seen of its own standstills.
#[derive(Clone, Debug)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When it began to watch.
    began: Instant,
    /// The last beat.
    beat: Instant,
    /// The same on the clock that goes on in a suspended machine.
    beat_at_boot: Duration,
    lost: Lost,
}

/// Time lost since the watch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// As timers see it.
    still: Duration,
    /// With the time in which the machine was suspended, which timers do not see.
    away: Duration,
}

/// A moment from which standstills are counted.
#[derive(Clone, Copy, Debug)]
pub struct Mark(Duration);

impl Mark {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(lost().away)
    }

    /// How long this process has stood still since then.
    #[must_use]
    pub fn stood_still(self) -> Duration {
        lost().away.saturating_sub(self.0)
    }
}

/// Begins to watch this process, from a runtime that lasts as long as it does.
pub fn watch() {
    if WATCH.set(Watch::new()).is_ok() {
        tokio::spawn(async {
            while let Some(watch) = WATCH.get() {
                sleep(BEAT).await;
                watch.beat();
            }
        });
    }
}

/// How long this process has run since it is watched, standstills excepted.
#[must_use]
pub fn running() -> Duration {
    static UNWATCHED: OnceLock<Instant> = OnceLock::new();
    match WATCH.get() {
        Some(watch) => watch.running(),
        None => UNWATCHED.get_or_init(Instant::now).elapsed(),
    }
}

/// What a future yields in this time, in which this process ran.
///
/// # Errors
/// It has yielded nothing.
pub async fn within<F: Future>(patience: Duration, future: F) -> Result<F::Output, Elapsed> {
    match WATCH.get() {
        Some(watch) => watch.within(patience, future).await,
        None => timeout(patience, future).await.map_err(|_| Elapsed),
    }
}

fn lost() -> Lost {
    WATCH.get().map(|watch| watch.lost()).unwrap_or_default()
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        let lost = Lost::default();
        Self(Arc::new(Mutex::new(Seen { began: now, beat: now, beat_at_boot: since_boot(), lost })))
    }

    fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        seen.lost = seen.lost(now);
        (seen.beat, seen.beat_at_boot) = (now, since_boot());
    }

    fn lost(&self) -> Lost {
        self.seen().lost(Instant::now())
    }

    fn running(&self) -> Duration {
        let (seen, now) = (self.seen(), Instant::now());
        now.saturating_duration_since(seen.began).saturating_sub(seen.lost(now).still)
    }

    async fn within<F: Future>(&self, patience: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let (began, before) = (Instant::now(), self.lost().still);
        let mut due = began + patience;
        loop {
            if let Ok(output) = timeout_at(due, future.as_mut()).await {
                return Ok(output);
            }
            let still = self.lost().still.saturating_sub(before);
            due = began + patience + still;
            if due <= Instant::now() {
                return Err(Elapsed);
            }
        }
    }
}

impl Seen {
    /// What was lost by now, the time since the last beat included.
    fn lost(&self, now: Instant) -> Lost {
        let still = now.saturating_duration_since(self.beat);
        let away = since_boot().saturating_sub(self.beat_at_boot).max(still);
        if away <= BEAT + LATE {
            return self.lost;
        }
        Lost {
            still: self.lost.still + still.saturating_sub(BEAT),
            away: self.lost.away + away.saturating_sub(BEAT),
        }
    }
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use super::*;

    /// A watch whose task beats.
    fn beating() -> Watch {
        let watch = Watch::new();
        let beats = watch.clone();
        tokio::spawn(async move {
            loop {
                sleep(BEAT).await;
                beats.beat();
            }
        });
        watch
    }

    // The runtime of these tests has one thread: while that sleeps, nothing runs, and all timers are late together.

    #[tokio::test]
    async fn a_time_limit_counts_only_what_ran() {
        let watch = beating();
        let (began, patience) = (Instant::now(), Duration::from_millis(800));
        let waiting = {
            let watch = watch.clone();
            tokio::spawn(async move { watch.within(patience, pending::<()>()).await })
        };
        sleep(Duration::from_millis(100)).await;
        for _ in 0..2 {
            thread::sleep(Duration::from_secs(1));
            sleep(Duration::from_millis(150)).await;
        }
        assert!(!waiting.is_finished(), "2.4 s have passed, of which 0.4 s ran");
        assert_eq!(waiting.await.unwrap(), Err(Elapsed));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(2500), "{took:?}");
        let lost = watch.lost();
        assert!(lost.still >= Duration::from_millis(1800) && lost.away >= lost.still, "{lost:?}");
        assert!(watch.running() + lost.still <= began.elapsed() + BEAT);
    }

    #[tokio::test]
    async fn what_came_while_nothing_ran_is_in_time() {
        let watch = beating();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let patience = Duration::from_millis(200);
        let waiting = tokio::spawn(async move { watch.within(patience, receiver).await });
        sleep(Duration::from_millis(50)).await;
        thread::sleep(Duration::from_millis(900));
        // As an answer that waits in a socket: seen only after the timers.
        sleep(Duration::from_millis(20)).await;
        sender.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(Ok(7)));
    }

    #[tokio::test]
    async fn who_asks_before_the_late_beat_is_told_too() {
        let watch = Watch::new();
        let seen = watch.seen();
        let late = seen.beat + BEAT + LATE;
        assert_eq!(seen.lost(late), Lost::default(), "late, but not by much");
        let lost = seen.lost(late + Duration::from_secs(5));
        assert_eq!(lost.still, Duration::from_millis(5200));
        thread::sleep(Duration::from_millis(400));
        let before = watch.lost();
        watch.beat();
        let after = watch.lost();
        assert!(before.still >= Duration::from_millis(300), "{before:?}");
        assert!(after.still >= before.still, "{before:?}, {after:?}");
        assert!(after.still < before.still + Duration::from_millis(200), "it is counted once");
    }
}
