//! The health of backends: which state each is in, and why.
//!
//! [`Health`] owns what is known of it: what probes found ([`advice`]), handshakes of clients that fail ([`passive`]), whether
//! this process stood still meanwhile ([`standstill`]), and what was last reported ([`states`]). It changes no state itself:
//! [`advise`] makes the state that follows.

mod advice;
mod passive;
mod standstill;
mod states;
mod subject;

use std::{collections::HashMap, time::Duration};

pub(super) use self::advice::{Changed, Shown, advise};
use self::{advice::Advised, passive::Windows, standstill::Standstill, states::States};
use super::{clock, links::NextHops};
use crate::{
    advisor::{Advisors, ProbeOutcome, probe::Load},
    api::types::{EventKind, ProbeLateness},
    datapath::{Counters, connections::ConnectionTable},
    model::{Backend, Service, State},
    prober::Prober,
};

/// What is known of the health of backends.
#[derive(Debug)]
pub(super) struct Health {
    advised: Advised,
    windows: Windows,
    states: States,
    standstill: Standstill,
}

impl Health {
    /// Knows nothing yet. After a takeover the former controller has reported what the first report finds.
    pub(super) fn new(advisors: Advisors, is_takeover: bool) -> Self {
        Self {
            advised: Advised::new(advisors),
            windows: Windows::default(),
            states: States::new(is_takeover),
            standstill: Standstill::default(),
        }
    }

    /// Probes the backends of a state from now on, and forgets all others.
    pub(super) fn follow(&mut self, state: &State, prober: &Prober) {
        self.advised.follow(state, prober);
    }

    /// Adds outcomes of probes; yields which backends have come up or gone down by them.
    pub(super) fn add_outcomes(&mut self, outcomes: Vec<ProbeOutcome>) -> Changed {
        let mut changed = HashMap::new();
        for outcome in outcomes {
            let slot = outcome.slot;
            if let Some(why) = self.advised.add(outcome) {
                changed.insert(slot, why);
            }
        }
        changed
    }

    /// Whether any service's window of passive signals is over. False while more connections are half-open than `syn_guard`.
    pub(super) fn is_window_over(
        &mut self,
        state: &State,
        table: &ConnectionTable,
        syn_guard: u64,
    ) -> bool {
        let is_flooded = table.active().half_open() > syn_guard;
        self.windows.are_any_over(state, is_flooded, clock::now())
    }

    /// Ends the windows that are over; yields the backends that have gone down by them.
    pub(super) fn judge_windows(
        &mut self,
        state: &State,
        table: &ConnectionTable,
        counters: &Counters,
    ) -> Changed {
        let is_idle = |slot| self.states.is_idle(slot);
        let bad = self.windows.judge(state, &is_idle, table, counters, clock::now());
        self.advised.add_failures(bad)
    }

    /// Notes whether this process has stood still. No backend is judged by that time.
    pub(super) fn watch_standstill(&mut self) {
        if self.standstill.has_passed() {
            self.windows.clear();
        }
    }

    /// Whether a standstill has just ended: the table may hold connections that should have expired long ago.
    pub(super) fn is_settling(&self) -> bool {
        self.standstill.is_settling()
    }

    /// Compares the backends of these services with what was last reported of them, and logs which of them begin or cease to get
    /// traffic; yields what is to be reported. `is_part`: there are other services, of which nothing has changed.
    pub(super) fn report(
        &mut self,
        services: &[&Service],
        hops: &NextHops,
        is_part: bool,
    ) -> Vec<EventKind> {
        self.states.report(services, hops, is_part)
    }

    /// Whether a backend got no new connections, for any reason, when it was last reported.
    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.states.is_idle(slot)
    }

    /// Why a backend gets no new connections, if it gets none: by what advisors find now, which may differ from what took it
    /// down.
    pub(super) fn idle_reason(&self, backend: &Backend, hops: &NextHops) -> Option<String> {
        let former = backend.advised_down.as_deref();
        let newest = former.and_then(|_| self.advised.why_down(backend.slot));
        hops.idle_reason(backend, newest.as_deref().or(former))
    }

    /// What was last measured of a backend by its advisor and by its metric agent, and when, in the time of
    /// [`crate::standstill::running`].
    pub(super) fn loads(&self, slot: u32) -> impl Iterator<Item = (Load, Duration)> {
        self.advised.loads(slot)
    }

    /// What probes have found of a backend.
    pub(super) fn shown(&self, slot: u32) -> Shown {
        self.advised.shown(slot)
    }

    /// How late probes began lately.
    pub(super) fn lateness(&self) -> ProbeLateness {
        self.advised.lateness()
    }
}
