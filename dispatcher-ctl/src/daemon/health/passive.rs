//! Passive signals: handshakes that clients retry or never complete, judged window by window.
//!
//! A window in which too many handshakes failed at a backend counts as a failed probe of it. A window with few failures says
//! nothing: there may have been no clients. SYNs may be forged, so failures alone prove little. Three more things must hold:
//!
//! - They outweigh the handshakes that clients completed at the backend by [`OUTWEIGHS`] to one: forged SYNs do not keep
//!   clients from completing theirs.
//! - At another backend of the service completed handshakes outweigh failed ones as much: forged SYNs go to all backends alike.
//! - No more connections are half-open than `syn_guard`: SYNs leave no connections behind then.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    daemon::clock,
    datapath::{Counters, connections::ConnectionTable},
    model::{Backend, Passive, Service, State, duration},
};

/// Windows are checked once a second: one that ends within this time is over.
const SLACK: Duration = Duration::from_millis(100);
/// Half-open connections are removed this much later than they are due, at most: the clock of connections ticks every 4.3 s,
/// and a large table is swept every 4 s.
const SWEPT: Duration = Duration::from_secs(10);

/// How many failed handshakes per completed one make a backend bad, and how many completed ones per failed one make it good.
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
    /// How handshakes ended since an earlier count.
    fn since(self, before: Self) -> Ended {
        let ran_out = self.ran_out.saturating_sub(before.ran_out);
        let begun = before.half_open + self.begun.saturating_sub(before.begun);
        // A client that sends a SYN a hundred times has failed once: no more can have failed than have not completed.
        let failed = self.half_open + ran_out;
        Ended {
            completed: begun.saturating_sub(failed),
            retried: self.retried.saturating_sub(before.retried).min(failed),
            unanswered: if before.is_own && self.is_own { ran_out } else { 0 },
        }
    }
}

/// How handshakes at a backend ended in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    completed: u64,
    /// Failed, by SYNs that were seen again.
    retried: u64,
    /// Failed, by half-open connections that ran out.
    unanswered: u64,
}

impl Ended {
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

/// What was counted of a service's backends when its window began.
#[derive(Debug)]
struct Window {
    began: Instant,
    passive: Passive,
    /// By slot, those that took new connections.
    counted: HashMap<u32, Handshakes>,
}

/// The windows of all services that have any.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// By service id.
    of: HashMap<u32, Window>,
    /// When more connections than `syn_guard` were last half-open.
    flooded: Option<Instant>,
}

impl Windows {
    /// Whether any service's window is over; forgets those of services that have none any more. While there is a flood of
    /// half-open connections, all windows are void.
    pub(super) fn are_any_over(&mut self, state: &State, is_flooded: bool, now: Instant) -> bool {
        let services = &state.services;
        let watched: HashSet<u32> =
            services.iter().filter(|s| passive_of(s).is_some()).map(|s| s.id).collect();
        self.of.retain(|service, _| watched.contains(service));
        if is_flooded {
            self.of.clear();
            self.flooded = Some(now);
            return false;
        }
        services.iter().any(|s| passive_of(s).is_some_and(|p| self.is_due(s.id, p, now)))
    }

    /// Ends the windows that are over; yields by slot why they were bad. Idle backends are left out.
    pub(super) fn judge(
        &mut self,
        state: &State,
        is_idle: &dyn Fn(u32) -> bool,
        table: &ConnectionTable,
        counters: &Counters,
        now: Instant,
    ) -> HashMap<u32, String> {
        let mut bad = HashMap::new();
        for service in &state.services {
            let due = passive_of(service).filter(|passive| self.is_due(service.id, *passive, now));
            let Some(passive) = due else { continue };
            let backends = service.backends.iter().filter(|b| !is_idle(b.slot));
            let flooded = self.flooded.map(|at| now.saturating_duration_since(at));
            let handshakes = |b: &Backend| handshakes(service, b, flooded, table, counters);
            let counted = backends.map(|b| (b.slot, handshakes(b))).collect();
            bad.extend(self.next(service.id, passive, now, counted));
        }
        bad
    }

    /// Restarts all windows.
    pub(super) fn clear(&mut self) {
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
    fn next(
        &mut self,
        service: u32,
        passive: Passive,
        now: Instant,
        counted: HashMap<u32, Handshakes>,
    ) -> HashMap<u32, String> {
        let mut bad = HashMap::new();
        if let Some(last) = self.of.get(&service).filter(|last| last.passive == passive) {
            // A window that was ended far too late is longer than the limits are meant for.
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

/// The passive signals that a service's advisor goes by, if any.
fn passive_of(service: &Service) -> Option<Passive> {
    service.config.advisor.as_ref().map(|advisor| advisor.passive).filter(|passive| passive.is_on())
}

/// Handshakes at a backend so far; there was a flood as long ago as is given, if ever.
fn handshakes(
    service: &Service,
    backend: &Backend,
    flooded: Option<Duration>,
    table: &ConnectionTable,
    counters: &Counters,
) -> Handshakes {
    // Until then what expires may be from before the backend came up, or from the flood.
    let late = service.config.syn_timeout + SWEPT;
    let age = Duration::from_millis(clock::epoch_ms().saturating_sub(backend.since_ms));
    let counted = counters.backend(backend.slot);
    Handshakes {
        begun: counted.connections,
        half_open: table.active().slot(backend.slot).half_open(),
        retried: counted.retransmissions,
        ran_out: table.unanswered(backend.slot),
        is_own: age > late && flooded.is_none_or(|ago| ago > late),
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
                windows.next(7, PASSIVE, start + PASSIVE.window * i, counted)
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
        windows.next(7, PASSIVE, start, counted(0, 0));
        assert!(!windows.is_due(7, PASSIVE, at(4)) && windows.is_due(7, PASSIVE, at(5)));
        let late = windows.next(7, PASSIVE, at(10), counted(99, 50));
        assert_eq!(late, HashMap::new());
        let other = Passive { retried: 1, ..PASSIVE };
        assert!(windows.is_due(7, other, at(11)));
        let new = windows.next(7, other, at(11), counted(200, 100));
        assert_eq!(new, HashMap::new());
        let next = windows.next(7, other, at(16), counted(300, 150));
        assert_eq!(next.len(), 1);
    }
}
