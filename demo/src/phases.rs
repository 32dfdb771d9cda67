//! Counts which servers answered the requests of a load, phase by phase.

use std::{ops::Range, time::Duration};

use dispatcher_lab::Answered;

use crate::show::Show;

/// A part of a load: its name, start and end.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) time: Range<Duration>,
}

impl Phase {
    pub(crate) fn new(name: impl Into<String>, time: Range<Duration>) -> Self {
        Self { name: name.into(), time }
    }

    /// Results of the requests that were due in it.
    pub(crate) fn count(&self, answered: &[Answered]) -> Counts {
        let mut counts = Counts::default();
        for one in answered.iter().filter(|one| self.time.contains(&one.due)) {
            let index = one.by.and_then(|number| usize::from(number).checked_sub(1));
            match index.and_then(|index| counts.answered.get_mut(index)) {
                Some(count) => *count += 1,
                None => counts.failed += 1,
            }
        }
        counts
    }
}

/// Results of some requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Requests that each of the three servers answered.
    pub(crate) answered: [u32; 3],
    /// Requests without an answer.
    pub(crate) failed: u32,
}

impl Counts {
    /// All requests.
    pub(crate) fn total(&self) -> u32 {
        self.answered.iter().sum::<u32>() + self.failed
    }

    /// The share that one server answered, from 0 to 1.
    pub(crate) fn share(&self, server: usize) -> f64 {
        f64::from(self.answered[server]) / f64::from(self.total().max(1))
    }
}

/// Shows which servers answered in each phase, and the share of the given server; returns the counts.
pub(crate) fn show(
    show: &Show,
    answered: &[Answered],
    phases: &[Phase],
    server: usize,
) -> Vec<Counts> {
    let share = format!("web-{}'s share", server + 1);
    show.say(&format!(
        "{:28}  seconds  requests  web-1  web-2  web-3  failed  {share}",
        "what happens"
    ));
    let row = |phase: &Phase| {
        let counts = phase.count(answered);
        let [first, second, third] = counts.answered;
        show.say(&format!(
            "{:28}  {:7.1}  {:8}  {first:5}  {second:5}  {third:5}  {:6}  {:12.0} %",
            phase.name,
            (phase.time.end - phase.time.start).as_secs_f64(),
            counts.total(),
            counts.failed,
            100.0 * counts.share(server),
        ));
        counts
    };
    phases.iter().map(row).collect()
}
