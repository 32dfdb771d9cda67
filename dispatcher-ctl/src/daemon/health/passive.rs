//! Passive signals: handshakes that clients retry or never complete, judged window by window.
//!
//! A window in which too many failed at a backend is a bad probe of it. A window with few failures says nothing: there may
//! have been no clients. SYNs may be forged, so that failures alone prove little. Three more things must hold:
//!
//! - They outweigh the handshakes that clients completed at the backend by [`OUTWEIGHS`] to one: forged SYNs do not keep
//!   clients from completing theirs.
//! - At another backend of the service completed handshakes outweigh failed ones as much: forged SYNs go to all backends alike.
//! - No more connections are half-open than `syn_guard`: SYNs leave no connections behind then.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::daemon::{clock, core::Core};
use crate::{
    api::types::ApiError,
    dataplane::Counters,
    model::{Backend, Passive, Service, duration},
};

/// Windows are looked at once a second: one that lacks less than this is over.
const SLACK: Duration = Duration::from_millis(100);
/// Half-open connections are removed this much later than they are due, at most: the clock of connections ticks every 4.3 s,
/// and a large table is swept every 4 s.
const SWEPT: Duration = Duration::from_secs(10);

/// As many failed handshakes as this must stand against each completed one, or as many completed ones against each failed one.
const OUTWEIGHS: u64 = 4;

/// Handshakes at a backend, counted from some time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Handshakes {
    /// Begun: connections placed.
    begun: u64,
    /// Half-open at this moment.
    half_open: u64,
    /// SYNs seen again of half-open connections.
    retried: u64,
    /// Half-open connections that ran out.
    ran_out: u64,
    /// Whether those that run out now are younger than the backend's recovery.
    is_own: bool,
}

impl Handshakes {
    /// What came of handshakes since an earlier count.
    fn since(self, before: Self) -> Outcomes {
        let ran_out = self.ran_out.saturating_sub(before.ran_out);
        let begun = before.half_open + self.begun.saturating_sub(before.begun);
        // A client that sends a SYN a hundred times has failed once: no more can have failed than have not completed.
        let failed = self.half_open + ran_out;
        Outcomes {
            completed: begun.saturating_sub(failed),
            retried: self.retried.saturating_sub(before.retried).min(failed),
            unanswered: if before.is_own && self.is_own { ran_out } else { 0 },
        }
    }
}

/// What came of handshakes at a backend in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcomes {
    completed: u64,
    /// Failed, by SYNs that were seen again.
    retried: u64,
    /// Failed, by half-open connections that ran out.
    unanswered: u64,
}

impl Outcomes {
    /// Why the window was bad, as far as this backend can tell.
    fn judge(self, passive: Passive) -> Option<String> {
        let mut found = [
            (self.retried, passive.retried, "retried"),
            (self.unanswered, passive.unanswered, "unanswered"),
        ]
        .into_iter();
        let (number, limit, what) = found.find(|(number, limit, _)| {
            *limit > 0
                && *number >= u64::from(*limit)
                && *number >= self.completed.saturating_mul(OUTWEIGHS)
        })?;
        let handshakes = if number == 1 { "handshake" } else { "handshakes" };
        let window = duration::text(passive.window);
        Some(format!(
            "passive: {number} {handshakes} {what} in {window}, expected less than {limit}"
        ))
    }

    /// Whether clients get through.
    fn is_good(self) -> bool {
        let failed = self.retried.max(self.unanswered);
        self.completed > 0 && self.completed >= failed.saturating_mul(OUTWEIGHS)
    }
}

/// What a service's backends had counted when its window began.
#[derive(Debug)]
struct Window {
    began: Instant,
    passive: Passive,
    /// By slot, those that took new connections.
    counted: HashMap<u32, Handshakes>,
}

/// The windows of all services that have any.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Windows {
    /// By service id.
    of: HashMap<u32, Window>,
    /// When more connections were last half-open than `syn_guard`.
    flooded: Option<Instant>,
}

impl Windows {
    /// Begins all anew: the controller stood still, and they are longer than they should be.
    pub(in crate::daemon) fn forget(&mut self) {
        self.of.clear();
    }

    /// Whether a service's window is over, or has not begun.
    fn is_due(&self, service: u32, passive: Passive, now: Instant) -> bool {
        self.of.get(&service).is_none_or(|window| {
            let elapsed = now.saturating_duration_since(window.began);
            window.passive != passive || elapsed + SLACK >= passive.window
        })
    }

    /// Ends a service's window and begins the next; yields by slot why it was bad.
    fn turn(
        &mut self,
        service: u32,
        passive: Passive,
        now: Instant,
        counted: HashMap<u32, Handshakes>,
    ) -> HashMap<u32, String> {
        let mut bad = HashMap::new();
        if let Some(last) = self.of.get(&service).filter(|last| last.passive == passive) {
            // One that was looked at far too late says more than was asked for.
            let is_timely = now.saturating_duration_since(last.began) < passive.window * 2;
            let outcomes: Vec<_> = counted
                .iter()
                .filter(|_| is_timely)
                .filter_map(|(slot, now)| Some((*slot, now.since(*last.counted.get(slot)?))))
                .collect();
            if outcomes.iter().any(|(_, outcomes)| outcomes.is_good()) {
                let judged = outcomes.iter();
                bad.extend(judged.filter_map(|(slot, o)| Some((*slot, o.judge(passive)?))));
            }
        }
        self.of.insert(service, Window { began: now, passive, counted });
        bad
    }
}

/// What a service's advisor goes by beside its probes, if by anything.
fn passive_of(service: &Service) -> Option<Passive> {
    service.config.advisor.as_ref().map(|advisor| advisor.passive).filter(|passive| passive.is_on())
}

impl Core {
    /// Ends windows that are over; backends to which clients do not get through are down from now on.
    ///
    /// # Errors
    /// As the kernel.
    pub(in crate::daemon) async fn watch_handshakes(&mut self) -> Result<(), ApiError> {
        let now = clock::now();
        let mut windows = std::mem::take(&mut self.windows);
        let bad = match self.is_window_over(&mut windows, now) {
            true => {
                self.recent_counters().map(|(_, all)| self.bad_windows(&mut windows, now, &all))
            }
            false => Ok(HashMap::new()),
        };
        self.windows = windows;
        let changed = self.advised.doubt(bad?);
        self.take_changed(changed).await
    }

    /// Whether any service's window is over; forgets those of services that have none any more.
    fn is_window_over(&self, windows: &mut Windows, now: Instant) -> bool {
        let services = &self.state().services;
        let watched: HashSet<u32> =
            services.iter().filter(|s| passive_of(s).is_some()).map(|s| s.id).collect();
        windows.of.retain(|service, _| watched.contains(service));
        if self.table.active().half_open() > self.record.applied.connections.syn_guard {
            windows.of.clear();
            windows.flooded = Some(now);
            return false;
        }
        services.iter().any(|s| passive_of(s).is_some_and(|p| windows.is_due(s.id, p, now)))
    }

    /// By slot, why the window that is over now was bad.
    fn bad_windows(
        &self,
        windows: &mut Windows,
        now: Instant,
        counters: &Counters,
    ) -> HashMap<u32, String> {
        let mut bad = HashMap::new();
        for service in &self.state().services {
            let due =
                passive_of(service).filter(|passive| windows.is_due(service.id, *passive, now));
            let Some(passive) = due else { continue };
            let backends = service.backends.iter().filter(|b| !self.is_idle(b.slot));
            let flooded = windows.flooded.map(|at| now.saturating_duration_since(at));
            let handshakes = |b: &Backend| self.handshakes(service, b, flooded, counters);
            let counted = backends.map(|b| (b.slot, handshakes(b))).collect();
            bad.extend(windows.turn(service.id, passive, now, counted));
        }
        bad
    }

    /// Handshakes at a backend so far; there was a flood as long ago as is said, if ever.
    fn handshakes(
        &self,
        service: &Service,
        backend: &Backend,
        flooded: Option<Duration>,
        counters: &Counters,
    ) -> Handshakes {
        // Until then what runs out may be from before the backend came up, or from the flood.
        let late = service.config.syn_timeout + SWEPT;
        let age = Duration::from_millis(clock::epoch_ms().saturating_sub(backend.since_ms));
        let counted = counters.backend(backend.slot);
        Handshakes {
            begun: counted.connections,
            half_open: self.table.active().slot(backend.slot).half_open(),
            retried: counted.retransmissions,
            ran_out: self.table.unanswered(backend.slot),
            is_own: age > late && flooded.is_none_or(|ago| ago > late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSIVE: Passive = Passive { window: Duration::from_secs(5), retried: 10, unanswered: 3 };

    /// Counts of a backend that has been up for long.
    fn count(begun: u64, half_open: u64, retried: u64, ran_out: u64) -> Handshakes {
        Handshakes { begun, half_open, retried, ran_out, is_own: true }
    }

    /// What windows of five seconds yield that begin and end with these counts of slots.
    fn windows(counts: &[&[(u32, Handshakes)]]) -> Vec<HashMap<u32, String>> {
        let (mut windows, start) = (Windows::default(), clock::now());
        (0..)
            .zip(counts)
            .map(|(i, counts)| {
                let counted = counts.iter().copied().collect();
                windows.turn(7, PASSIVE, start + PASSIVE.window * i, counted)
            })
            .collect()
    }

    /// What the second of two windows says of slot 1, where slot 2 is as `other`.
    fn said_beside(before: Handshakes, now: Handshakes, other: Handshakes) -> Option<String> {
        let found = windows(&[&[(1, before), (2, count(0, 0, 0, 0))], &[(1, now), (2, other)]]);
        found[1].get(&1).cloned()
    }

    #[test]
    fn a_window_is_bad_from_as_many_as_were_said() {
        let well = |begun| (2, count(begun, 0, 0, 0));
        let found = windows(&[
            &[(1, count(100, 9, 100, 5)), well(0)],
            &[(1, count(110, 17, 109, 7)), well(10)],
            &[(1, count(120, 27, 119, 7)), well(20)],
            &[(1, count(130, 34, 119, 10)), well(30)],
            &[(1, count(140, 44, 119, 10)), well(40)],
        ]);
        let wanted = [
            None,
            None,
            Some("passive: 10 handshakes retried in 5s, expected less than 10"),
            Some("passive: 3 handshakes unanswered in 5s, expected less than 3"),
            None,
        ];
        let said: Vec<_> = found.iter().map(|bad| bad.get(&1).map(String::as_str)).collect();
        assert_eq!(said, wanted);
        assert!(found.iter().all(|bad| !bad.contains_key(&2)));
    }

    #[test]
    fn a_syn_that_is_sent_again_and_again_has_failed_once() {
        let none = count(0, 0, 0, 0);
        // Nobody completes a handshake here: two forged SYNs, each sent a thousand times; ten, each sent twice.
        assert_eq!(said_beside(none, count(2, 2, 2000, 0), count(50, 0, 0, 0)), None);
        let said = said_beside(none, count(10, 10, 10, 0), count(50, 0, 0, 0));
        assert_eq!(
            said.as_deref(),
            Some("passive: 10 handshakes retried in 5s, expected less than 10")
        );
    }

    #[test]
    fn handshakes_that_clients_complete_speak_for_a_backend() {
        let before = count(100, 20, 0, 0);
        let well = count(50, 0, 0, 0);
        // Of 60 that begun or were half-open, 48 failed and 12 or 13 completed.
        let failing = |completed: u64| count(140 + completed, 48, 48, 0);
        assert_eq!(before.half_open + 40, 48 + 12);
        assert!(said_beside(before, failing(0), well).is_some());
        assert_eq!(said_beside(before, failing(1), well), None);
        // Forged ones run out at one rate, and begin at the same.
        let steady = |rounds: u64| count(70 * rounds, 120, 20 * rounds, 20 * rounds);
        assert_eq!(said_beside(steady(1), steady(2), well), None);
    }

    #[test]
    fn what_befalls_all_backends_alike_is_no_backends_fault() {
        let none = count(0, 0, 0, 0);
        let flooded = count(50, 50, 50, 0);
        // Of the other backends no client gets through, few do, or nobody tries.
        for other in [count(10, 10, 10, 0), count(30, 20, 20, 0), count(9, 9, 9, 0), none] {
            assert_eq!(said_beside(none, flooded, other), None, "{other:?}");
        }
        assert!(said_beside(none, flooded, count(30, 6, 6, 0)).is_some());
        assert_eq!(windows(&[&[(1, none)], &[(1, flooded)]])[1], HashMap::new());
    }

    #[test]
    fn only_what_a_whole_window_has_seen_is_judged() {
        let none = count(0, 0, 0, 0);
        let new = |ran_out| Handshakes { is_own: false, ..count(0, 0, 0, ran_out) };
        let well = count(50, 0, 0, 0);
        // Slot 1 begins in the window; of slot 3 it is not known what runs out; slot 4 has changed hands.
        let found = windows(&[
            &[(2, none), (3, new(0)), (4, count(70, 0, 70, 70))],
            &[(1, count(50, 50, 50, 50)), (2, well), (3, new(50)), (4, none)],
        ]);
        assert_eq!(found[1], HashMap::new());
        let (mut windows, start) = (Windows::default(), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let counted =
            |one, two| HashMap::from([(1, count(one, one, one, 0)), (2, count(two, 0, 0, 0))]);
        assert!(windows.is_due(7, PASSIVE, start));
        windows.turn(7, PASSIVE, start, counted(0, 0));
        assert!(!windows.is_due(7, PASSIVE, at(4)) && windows.is_due(7, PASSIVE, at(5)));
        let late = windows.turn(7, PASSIVE, at(10), counted(99, 50));
        assert_eq!(late, HashMap::new());
        let other = Passive { retried: 1, ..PASSIVE };
        assert!(windows.is_due(7, other, at(11)));
        let new = windows.turn(7, other, at(11), counted(200, 100));
        assert_eq!(new, HashMap::new());
        let next = windows.turn(7, other, at(16), counted(300, 150));
        assert_eq!(next.len(), 1);
    }
}
