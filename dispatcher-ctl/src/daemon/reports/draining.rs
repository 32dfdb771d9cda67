//! Quiesced backends: how many connections they have left, and which have passed their deadline. Every change is reported at
//! the next tick.
//!
//! At its deadline a backend that has connections left goes down, as by hand: its connections are broken as `on_down` says. A
//! backend without connections stays quiesced. The deadline is in the saved state: it outlasts the controller, and the next one keeps
//! it. A deadline that passes while the controller stands still is kept a few seconds after that, when expired connections
//! have been swept.

use std::collections::HashMap;

use super::events::Events;
use crate::{
    api::types::EventKind,
    datapath::connections::SlotCounts,
    model::{Backend, Service, State},
};

/// What quiesced backends had left when it was last reported, by slot.
#[derive(Debug, Default)]
pub(super) struct Draining(HashMap<u32, Left>);

impl Draining {
    /// Reports how many connections quiesced backends have left, if that has changed.
    pub(super) fn report(
        &mut self,
        state: &State,
        left: impl Fn(&Backend) -> Left,
        events: &Events,
    ) {
        let former = std::mem::take(&mut self.0);
        for service in &state.services {
            for backend in service.backends.iter().filter(|backend| backend.quiesced) {
                let left = left(backend);
                if former.get(&backend.slot) != Some(&left) {
                    // Not logged: a line every second would drown the others.
                    events.send(EventKind::QuiesceProgress {
                        service: service.config.name.clone(),
                        backend: backend.config.name.clone(),
                        connections: left.connections,
                        silent: left.silent,
                    });
                }
                self.0.insert(backend.slot, left);
            }
        }
    }
}

/// Connections that a quiesced backend has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Left {
    /// Those with traffic.
    connections: u64,
    /// Those without ([`SlotCounts::silent`]): nobody needs to wait for them.
    silent: u64,
}

impl Left {
    /// By the count of this moment, and by what the last sweep found. The latter knows which are silent; a connection that came
    /// or went since counts on neither side as silent.
    pub(in crate::daemon) fn new(active: u64, swept: SlotCounts) -> Self {
        let silent = u64::from(swept.silent).min(active);
        let with_traffic = u64::from(swept.active() - swept.silent);
        let connections = (active - silent).max(with_traffic.min(active));
        Self { connections, silent: active - connections }
    }
}

/// A state in which backends whose deadline has passed are down, and the events that say why; none if no deadline has passed.
/// `now_ms` is in milliseconds since the epoch, `connections` yields how many a backend has.
pub(in crate::daemon) fn past_deadline(
    state: &State,
    now_ms: u64,
    connections: impl Fn(&Backend) -> u64,
) -> Option<(State, Vec<EventKind>)> {
    let is_over = |b: &Backend| b.quiesced && b.quiesce_deadline_ms.is_some_and(|at| at <= now_ms);
    if !state.backends().any(is_over) {
        return None;
    }
    let (mut state, mut events) = (state.clone(), Vec::new());
    let has_one = |service: &Service| service.backends.iter().any(is_over);
    state.change(has_one, |Service { config, backends, .. }| {
        for backend in backends.iter_mut().filter(|backend| is_over(backend)) {
            backend.quiesce_deadline_ms = None;
            let connections = connections(backend);
            if connections > 0 && !backend.down {
                (backend.down, backend.since_ms) = (true, now_ms);
            }
            events.push(EventKind::QuiesceDeadline {
                service: config.name.clone(),
                backend: backend.config.name.clone(),
                connections,
            });
        }
    });
    Some((state, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_never_less_than_what_has_traffic() {
        let swept = |half_open, established, silent| SlotCounts {
            half_open,
            established,
            silent,
            closing: 7,
            ..SlotCounts::default()
        };
        for (active, swept, connections, silent) in [
            (0, swept(0, 0, 0), 0, 0),
            (5, swept(2, 3, 0), 5, 0),
            (5, swept(2, 3, 4), 1, 4),
            (5, swept(2, 3, 5), 0, 5),
            // Not swept yet, or since the sweep more have come.
            (5, SlotCounts::default(), 5, 0),
            (9, swept(2, 3, 5), 4, 5),
            // Some have gone since: the others are those with traffic.
            (3, swept(2, 3, 4), 1, 2),
            (1, swept(2, 3, 4), 1, 0),
            (0, swept(2, 3, 4), 0, 0),
        ] {
            let left = Left::new(active, swept);
            assert_eq!(
                (left.connections, left.silent),
                (connections, silent),
                "{active} {swept:?}"
            );
        }
    }
}
