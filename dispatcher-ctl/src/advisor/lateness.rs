//! Measures how late probes begin.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::lanes::Lane;

/// The reported maximum covers this period and the one before.
const PERIOD: Duration = Duration::from_secs(10);

/// Greatest recent lateness of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Probes of backends that are up.
    pub up: Duration,
    /// All other probes.
    pub other: Duration,
}

/// Collects lateness.
#[derive(Debug)]
pub(super) struct LatenessMeter(Mutex<Periods>);

#[derive(Debug)]
struct Periods {
    began: Instant,
    now: Lateness,
    before: Lateness,
}

impl LatenessMeter {
    pub(super) fn new() -> Self {
        let (now, before) = (Lateness::default(), Lateness::default());
        Self(Mutex::new(Periods { began: Instant::now(), now, before }))
    }

    /// Adds how late a probe began.
    pub(super) fn record(&self, lane: Lane, late: Duration) {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.roll(Instant::now());
        let kept = match lane {
            Lane::Up => &mut periods.now.up,
            Lane::Other(_) => &mut periods.now.other,
        };
        *kept = late.max(*kept);
    }

    pub(super) fn get(&self) -> Lateness {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.roll(Instant::now());
        let Periods { now, before, .. } = &*periods;
        Lateness { up: now.up.max(before.up), other: now.other.max(before.other) }
    }
}

impl Periods {
    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= PERIOD {
            let last = std::mem::take(&mut self.now);
            self.before = if passed < PERIOD * 2 { last } else { Lateness::default() };
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_of_lately_is_told() {
        let late = LatenessMeter::new();
        let second = Duration::from_secs(1);
        late.record(Lane::Up, second);
        late.record(Lane::Up, second / 2);
        late.record(Lane::Other(second), second * 9);
        let want = Lateness { up: second, other: second * 9 };
        assert_eq!(late.get(), want);
        let roll = |by| late.0.lock().unwrap().roll(Instant::now() + by);
        roll(PERIOD);
        assert_eq!(late.get(), want);
        roll(PERIOD * 2 + second);
        assert_eq!(late.get(), Lateness::default());
    }
}
