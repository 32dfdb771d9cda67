//! How far are quiesced backends, and whose time is up? Progress is told with every tick in which it changes.
//!
//! At its deadline a backend that has connections left goes down, as by hand: its connections are broken as `on_down` says. One
//! without stays quiesced. The deadline is in the record: it outlasts the controller, and is kept by the next. One that passes
//! while the controller stands still is kept a few seconds after that, when connections whose time was up are swept.

use std::collections::HashMap;

use crate::daemon::{clock, core::Core, reports::Cause};
use crate::{
    api::types::{ApiError, EventKind},
    dataplane::connections::SlotCounts,
    model::{Backend, Service},
};

/// What quiesced backends had left when it was last told, by slot.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Draining(HashMap<u32, Left>);

/// Connections that a quiesced backend has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// Those with traffic.
    connections: u64,
    /// Those without ([`SlotCounts::silent`]): nobody needs to be waited for on their account.
    silent: u64,
}

impl Left {
    /// By the count of this moment, and by what the last sweep found. The latter knows which are silent; a connection that came
    /// or went since counts on neither side as silent.
    fn new(active: u64, swept: SlotCounts) -> Self {
        let silent = u64::from(swept.silent).min(active);
        let with_traffic = u64::from(swept.active() - swept.silent);
        let connections = (active - silent).max(with_traffic.min(active));
        Self { connections, silent: active - connections }
    }
}

impl Core {
    /// Tells how many connections quiesced backends have left, where that has changed.
    pub(in crate::daemon) fn tell_progress(&mut self) {
        let former = std::mem::take(&mut self.draining.0);
        for service in &self.record.state.services {
            for backend in service.backends.iter().filter(|backend| backend.quiesced) {
                let left = Left::new(self.left(backend), self.sweeper.latest().slot(backend.slot));
                if former.get(&backend.slot) != Some(&left) {
                    // Not logged: a line a second would drown the others.
                    self.events.tell_readers(EventKind::QuiesceProgress {
                        service: service.config.name.clone(),
                        backend: backend.config.name.clone(),
                        connections: left.connections,
                        silent: left.silent,
                    });
                }
                self.draining.0.insert(backend.slot, left);
            }
        }
    }

    /// Takes backends down whose deadline has passed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::daemon) async fn keep_deadlines(&mut self) -> Result<(), ApiError> {
        if self.is_settling() {
            return Ok(());
        }
        let now = clock::epoch_ms();
        let is_over = |b: &Backend| b.quiesced && b.quiesce_deadline_ms.is_some_and(|at| at <= now);
        if !self.state().backends().any(is_over) {
            return Ok(());
        }
        let mut state = self.state().clone();
        let mut told = Vec::new();
        let has_one = |service: &Service| service.backends.iter().any(is_over);
        state.change(has_one, |Service { config, backends, .. }| {
            for backend in backends.iter_mut().filter(|backend| is_over(backend)) {
                backend.quiesce_deadline_ms = None;
                let connections = self.left(backend);
                if connections > 0 && !backend.down {
                    (backend.down, backend.since_ms) = (true, now);
                }
                told.push(EventKind::QuiesceDeadline {
                    service: config.name.clone(),
                    backend: backend.config.name.clone(),
                    connections,
                });
            }
        });
        // Before the backend is told to be down: this is why.
        told.into_iter().for_each(|event| self.events.tell(event));
        self.commit(state, None, Cause::Hand).await
    }

    /// Connections that a backend has.
    fn left(&self, backend: &Backend) -> u64 {
        self.table.active().slot(backend.slot).active()
    }
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
