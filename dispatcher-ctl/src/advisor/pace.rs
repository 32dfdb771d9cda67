//! Chooses when a backend is probed next, and in which lane, from what its last probes found.

use std::time::Duration;

use super::{lanes::Lane, probe::Finding};
use crate::model::Advisor;

/// Detecting the return of a backend may take this part (one tenth) of the time for which it was down.
const RETURN_FRACTION: u32 = 10;
/// A backend that could not be probed is tried again after this time at most.
const HINDERED_RETRY: Duration = Duration::from_secs(2);

/// What the last probes of one question found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    longest: Duration,
    standing: Standing,
    /// Whether the last probe could not be made.
    is_hindered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No result yet, since this time.
    Unknown(Duration),
    /// A good one, and this many bad ones since; time of the last change.
    Up(u32, Duration),
    /// Only bad ones since this time.
    Down(Duration),
}

impl Pace {
    /// Starts without any result; `now` by [`crate::standstill::running`].
    pub(super) fn new(advisor: &Advisor, now: Duration) -> Self {
        let longest = advisor.down_interval.max(advisor.interval);
        let standing = Standing::Unknown(now);
        Self { interval: advisor.interval, longest, standing, is_hindered: false }
    }

    /// Adds what a probe found; `fall` bad results in a row mean that the backend is down.
    pub(super) fn record(&mut self, finding: &Result<Finding, String>, fall: u32, now: Duration) {
        self.is_hindered = finding.is_err();
        let Ok(finding) = finding else { return };
        self.standing = match (self.standing, finding.result.is_ok()) {
            (_, true) => Standing::Up(0, now),
            (Standing::Up(0, _), false) if fall > 1 => Standing::Up(1, now),
            (Standing::Up(bad, since), false) if bad + 1 < fall => Standing::Up(bad + 1, since),
            (Standing::Up(0, _), false) => Standing::Down(now),
            (Standing::Up(_, since) | Standing::Unknown(since) | Standing::Down(since), false) => {
                Standing::Down(since)
            }
        };
    }

    /// The lane of the next probe.
    pub(super) const fn lane(self) -> Lane {
        match self.standing {
            Standing::Up(..) => Lane::Up,
            Standing::Unknown(since) | Standing::Down(since) => Lane::Other(since),
        }
    }

    /// Time from the beginning of the last probe to the beginning of the next.
    pub(super) fn pause(self, now: Duration) -> Duration {
        if self.is_hindered {
            return self.interval.min(HINDERED_RETRY);
        }
        match self.standing {
            Standing::Unknown(_) | Standing::Up(..) => self.interval,
            Standing::Down(since) => {
                (now.saturating_sub(since) / RETURN_FRACTION).clamp(self.interval, self.longest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{advisor::probe::Load, fault::Fault, model::AdvisorKind};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn found(is_good: bool) -> Result<Finding, String> {
        let load = Load::Time(Duration::from_millis(1));
        let result = if is_good { Ok(load) } else { Err(Fault::Backend("refused".to_owned())) };
        Ok(Finding { result, certificate_expiry: None })
    }

    fn pace() -> Pace {
        let advisor = Advisor { interval: at(2), ..Advisor::new(AdvisorKind::Connect) };
        Pace::new(&advisor, at(0))
    }

    #[test]
    fn one_that_is_down_for_long_is_asked_less_often() {
        let mut pace = pace();
        pace.record(&found(false), 1, at(1));
        let pauses: Vec<_> = [1, 10, 20, 50, 99, 1000].map(|s| pace.pause(at(s))).into();
        assert_eq!(pauses, [at(2), at(2), at(2), at(5), Duration::from_millis(9900), at(10)]);
        pace.record(&found(true), 1, at(1000));
        assert_eq!((pace.pause(at(2000)), pace.lane()), (at(2), Lane::Up));
        // An interval longer than the limit stays as it is for a backend that is down.
        let advisor = Advisor { interval: at(30), ..Advisor::new(AdvisorKind::Connect) };
        let mut slow = Pace::new(&advisor, at(0));
        slow.record(&found(false), 1, at(0));
        assert_eq!(slow.pause(at(10_000)), at(30));
    }

    #[test]
    fn one_that_falls_is_up_until_it_is_down() {
        let mut pace = pace();
        assert_eq!(pace.lane(), Lane::Other(at(0)));
        pace.record(&found(true), 3, at(1));
        for second in [2, 3] {
            pace.record(&found(false), 3, at(second));
            assert_eq!(pace.lane(), Lane::Up, "{second}");
        }
        pace.record(&found(false), 3, at(4));
        assert_eq!(pace.lane(), Lane::Other(at(2)), "since the first bad one");
    }

    #[test]
    fn what_could_not_be_probed_is_tried_again_soon() {
        let mut pace = pace();
        pace.record(&found(false), 1, at(1));
        pace.record(&Err("no descriptors".to_owned()), 1, at(900));
        assert_eq!((pace.pause(at(900)), pace.lane()), (at(2), Lane::Other(at(0))));
    }
}
