//! Do clients get through to each backend? Handshakes that they retry, or never complete, window by window.
//!
//! A window in which too many failed at a backend is a bad probe of it. One in which few failed says nothing: there may have
//! been no clients. Neither does one in which they failed at every backend that takes new connections (clients that do not
//! complete handshakes do so everywhere), nor one while more connections were half-open than `syn_guard`: SYNs leave no
//! connections behind then.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{clock, core::Core};
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

/// Handshakes that failed at a backend, counted from some time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Handshakes {
    retried: u64,
    /// None: those that run out now may be older than the backend's recovery.
    unanswered: Option<u64>,
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
pub(super) struct Windows {
    /// By service id.
    of: HashMap<u32, Window>,
    /// When more connections were last half-open than `syn_guard`.
    flooded: Option<Instant>,
}

impl Windows {
    /// Begins all anew: the controller stood still, and they are longer than they should be.
    pub(super) fn forget(&mut self) {
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
            for (slot, now) in counted.iter().filter(|_| is_timely) {
                let why = last.counted.get(slot).and_then(|before| judge(passive, *before, *now));
                bad.extend(why.map(|why| (*slot, why)));
            }
            if bad.len() == counted.len() {
                bad.clear();
            }
        }
        self.of.insert(service, Window { began: now, passive, counted });
        bad
    }
}

/// Why a backend's window was bad, if it was.
fn judge(passive: Passive, before: Handshakes, now: Handshakes) -> Option<String> {
    let unanswered = before.unanswered.zip(now.unanswered);
    let unanswered = unanswered.map_or(0, |(before, now)| now.saturating_sub(before));
    let retried = now.retried.saturating_sub(before.retried);
    let mut found =
        [(retried, passive.retried, "retried"), (unanswered, passive.unanswered, "unanswered")]
            .into_iter();
    let (number, limit, what) =
        found.find(|(number, limit, _)| *limit > 0 && *number >= u64::from(*limit))?;
    let handshakes = if number == 1 { "handshake" } else { "handshakes" };
    let window = duration::text(passive.window);
    Some(format!("passive: {number} {handshakes} {what} in {window}, expected less than {limit}"))
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
    pub(super) async fn watch_handshakes(&mut self) -> Result<(), ApiError> {
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

    /// What has failed at a backend so far; there was a flood as long ago as is said, if ever.
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
        let is_own = age > late && flooded.is_none_or(|ago| ago > late);
        Handshakes {
            retried: counters.backend(backend.slot).retransmissions,
            unanswered: is_own.then(|| self.table.unanswered(backend.slot)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSIVE: Passive = Passive { window: Duration::from_secs(5), retried: 10, unanswered: 3 };

    fn counted(slots: &[(u32, u64, Option<u64>)]) -> HashMap<u32, Handshakes> {
        let of = |(slot, retried, unanswered): &(u32, u64, Option<u64>)| {
            (*slot, Handshakes { retried: *retried, unanswered: *unanswered })
        };
        slots.iter().map(of).collect()
    }

    /// What windows of five seconds yield that begin and end with these counts.
    fn windows(counts: &[&[(u32, u64, Option<u64>)]]) -> Vec<HashMap<u32, String>> {
        let (mut windows, start) = (Windows::default(), clock::now());
        (0..)
            .zip(counts)
            .map(|(i, counts)| {
                windows.turn(7, PASSIVE, start + PASSIVE.window * i, counted(counts))
            })
            .collect()
    }

    #[test]
    fn a_window_is_bad_from_as_many_as_were_said() {
        let well = (2, 0, Some(0));
        let found = windows(&[
            &[(1, 100, Some(5)), well],
            &[(1, 109, Some(7)), well],
            &[(1, 119, Some(7)), well],
            &[(1, 119, Some(10)), well],
            &[(1, 119, Some(10)), well],
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
    fn what_befalls_all_backends_alike_is_no_backends_fault() {
        let found = windows(&[&[(1, 0, None), (2, 0, None)], &[(1, 50, None), (2, 10, None)]]);
        assert_eq!(found[1], HashMap::new());
        assert_eq!(windows(&[&[(1, 0, None)], &[(1, 50, None)]])[1], HashMap::new());
    }

    #[test]
    fn only_what_a_whole_window_has_seen_is_judged() {
        // Slot 1 begins in the window; of slot 3 it is not known what runs out; slot 4 has changed hands.
        let found = windows(&[
            &[(2, 0, None), (3, 0, None), (4, 70, Some(70))],
            &[(1, 50, Some(50)), (2, 0, None), (3, 0, Some(50)), (4, 0, Some(0))],
        ]);
        assert_eq!(found[1], HashMap::new());
        let (mut windows, start) = (Windows::default(), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(windows.is_due(7, PASSIVE, start));
        windows.turn(7, PASSIVE, start, counted(&[(1, 0, None), (2, 0, None)]));
        assert!(!windows.is_due(7, PASSIVE, at(4)) && windows.is_due(7, PASSIVE, at(5)));
        let late = windows.turn(7, PASSIVE, at(10), counted(&[(1, 99, None), (2, 0, None)]));
        assert_eq!(late, HashMap::new());
        let other = Passive { retried: 1, ..PASSIVE };
        assert!(windows.is_due(7, other, at(11)));
        let new = windows.turn(7, other, at(11), counted(&[(1, 200, None), (2, 0, None)]));
        assert_eq!(new, HashMap::new());
    }
}
