//! Checks the manager's settings.

use std::time::Duration;

use super::Found;
use crate::model::{Manager, Proportions, duration};

/// Shortest interval: weights should not change faster than what they follow.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest time in which a backend ramps up.
const LONGEST_SLOW_START: Duration = Duration::from_secs(3600);

impl Found {
    /// Checks the manager's settings.
    pub(super) fn manager(&mut self, manager: &Manager) {
        self.prefix = "manager.".to_owned();
        self.object = "manager: ".to_owned();
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&manager.interval) {
            let written = duration::text(manager.interval);
            let message = format!("interval {written} is out of range, expected 100ms to 1h");
            self.say("interval", &message);
        }
        if !(1..=1000).contains(&manager.refresh) {
            let message = format!("refresh {} is out of range, expected 1..=1000", manager.refresh);
            self.say("refresh", &message);
        }
        for (key, value, expected) in [
            ("sensitivity", manager.sensitivity, 0..=100),
            ("smoothing", manager.smoothing, 1..=100),
        ] {
            if !(f64::from(*expected.start())..=f64::from(*expected.end())).contains(&value) {
                let (first, last) = expected.into_inner();
                let message = format!("{key} {value} is out of range, expected {first}..={last}");
                self.say(key, &message);
            }
        }
        if manager.report_timeout.is_some_and(|timeout| timeout.is_zero()) {
            let message = "report_timeout 0s forgets at once, expected more, or \"unlimited\"";
            self.say("report_timeout", message);
        }
        self.proportions(manager.proportions);
        (self.object, self.prefix) = (String::new(), String::new());
    }

    /// Checks proportions.
    pub(super) fn proportions(&mut self, proportions: Proportions) {
        let all = proportions.all();
        let sum = all.iter().map(|percent| u64::from(*percent)).sum::<u64>();
        if sum != 100 {
            let message = format!("proportions {proportions} sum to {sum}, expected 100");
            let problem = self.say("proportions", &message);
            let at = problem.error.path.clone();
            problem.causes =
                ["active", "new", "advisor", "system"].map(|key| format!("{at}.{key}")).into();
        }
    }

    /// Checks the time in which backends ramp up.
    pub(super) fn slow_start(&mut self, slow_start: Duration) {
        if slow_start > LONGEST_SLOW_START {
            let written = duration::text(slow_start);
            let message = format!("slow_start {written} is too long, expected at most 1h");
            self.say("slow_start", &message);
        }
    }
}
