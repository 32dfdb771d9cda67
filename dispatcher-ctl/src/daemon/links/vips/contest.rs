//! When a VIP that something takes away is put back: at once, and after [`MANY`] losses in [`WINDOW`] with growing pauses.
//! Otherwise dispatcher and whoever removes the VIP would keep the host and the segment busy.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// From this many losses within [`WINDOW`] on, the pauses grow.
const MANY: usize = 5;
const WINDOW: Duration = Duration::from_secs(30);
/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A VIP that was lost, until it has been there for a while.
#[derive(Debug)]
pub(super) struct Contest {
    /// When it was lost, within [`WINDOW`].
    recent: VecDeque<Instant>,
    /// How often it was lost.
    pub(super) losses: u64,
    /// Who took it away last, if that is known.
    pub(super) by: Option<String>,
    /// Why it could not be put back.
    pub(super) failure: Option<String>,
    /// When it was reported as one that is taken away again and again, or cannot be put back.
    pub(super) alert: Option<Instant>,
    pause: Duration,
    /// When it is to be put back; none: it is there.
    retry_at: Option<Instant>,
    /// Since when it is there, or was found missing.
    since: Instant,
}

impl Contest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            recent: VecDeque::new(),
            losses: 0,
            by: None,
            failure: None,
            alert: None,
            pause: Duration::ZERO,
            retry_at: None,
            since: now,
        }
    }

    /// Notes that it is missing. Returns whether that is new.
    pub(super) fn mark_missing(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some() {
            return false;
        }
        self.losses += 1;
        self.recent.push_back(now);
        self.recent.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        if self.alert.is_some() || self.recent.len() >= MANY {
            self.grow();
        }
        self.retry_at = Some(now + self.pause);
        self.since = now;
        true
    }

    /// Whether it is to be put back now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }

    /// How long until it is put back, while it is missing.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(now))
    }

    /// Notes that it could not be put back, and why. Returns whether that is new.
    pub(super) fn mark_failed(&mut self, now: Instant, why: String) -> bool {
        self.grow();
        self.retry_at = Some(now + self.pause);
        let why = Some(why);
        std::mem::replace(&mut self.failure, why.clone()) != why
    }

    /// Notes that it is there: put back, or found.
    pub(super) fn mark_there(&mut self, now: Instant) {
        self.failure = None;
        if self.retry_at.take().is_some() {
            self.since = now;
        }
    }

    /// Whether there is something to warn of.
    pub(super) fn is_grave(&self) -> bool {
        self.failure.is_some() || !self.pause.is_zero()
    }

    /// Whether it has been there long enough that the contest is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let quiet = WINDOW.max(self.pause * 2);
        self.retry_at.is_none() && now.saturating_duration_since(self.since) >= quiet
    }

    /// Since when it is there, or missing.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn grow(&mut self) {
        let (first, longest) = PAUSES;
        self.pause = (self.pause * 2).clamp(first, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose_and_put(contest: &mut Contest, now: &mut Instant) -> Duration {
        assert!(contest.mark_missing(*now) && !contest.mark_missing(*now));
        let wait = contest.wait(*now).unwrap();
        *now += wait;
        assert!(contest.is_due(*now));
        contest.mark_there(*now);
        wait
    }

    #[test]
    fn it_is_put_back_at_once_until_it_was_lost_five_times_in_half_a_minute() {
        let mut now = Instant::now();
        let mut contest = Contest::new(now);
        for _ in 0..4 {
            assert_eq!(lose_and_put(&mut contest, &mut now), Duration::ZERO);
            assert!(!contest.is_grave());
        }
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                let wait = lose_and_put(&mut contest, &mut now);
                contest.alert.get_or_insert(now);
                wait.as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(contest.is_grave() && contest.losses == 12);
        // The longer it had to wait, the longer it must have been there.
        assert!(!contest.is_over(now + Duration::from_secs(119)));
        assert!(contest.is_over(now + Duration::from_secs(120)));
    }

    #[test]
    fn losses_that_are_far_apart_are_no_contest() {
        let mut now = Instant::now();
        let mut contest = Contest::new(now);
        for _ in 0..20 {
            assert_eq!(lose_and_put(&mut contest, &mut now), Duration::ZERO);
            now += Duration::from_secs(8);
        }
        assert!(!contest.is_grave() && !contest.is_over(now));
        assert!(contest.is_over(now + WINDOW));
    }

    #[test]
    fn what_cannot_be_put_back_is_tried_again_and_told_once() {
        let mut now = Instant::now();
        let mut contest = Contest::new(now);
        assert!(contest.mark_missing(now));
        assert!(contest.mark_failed(now, "no".to_owned()) && contest.is_grave());
        for seconds in [1, 2, 4] {
            assert_eq!(contest.wait(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert!(contest.is_due(now) && !contest.mark_failed(now, "no".to_owned()));
        }
        contest.mark_there(now);
        assert_eq!((contest.wait(now), &contest.failure), (None, &None));
    }
}
