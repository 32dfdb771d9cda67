//! How far are quiesced backends, and whose time is up? Progress is told with every tick in which it changes.
//!
//! At its deadline a backend that has connections left goes down, as by hand: its connections are broken as `on_down` says. One
//! without stays quiesced. The deadline is in the record: it outlasts the controller, and is kept by the next. One that passes
//! while the controller stands still is kept a few seconds after that, when connections whose time was up are swept.

use std::collections::HashMap;

use super::{clock, core::Core, events::Cause};
use crate::{
    api::types::{ApiError, EventKind},
    model::{Backend, Service},
};

/// Connections that quiesced backends had left when it was last told, by slot.
#[derive(Debug, Default)]
pub(super) struct Draining(HashMap<u32, u64>);

impl Core {
    /// Tells how many connections quiesced backends have left, where that has changed.
    pub(super) fn tell_progress(&mut self) {
        let former = std::mem::take(&mut self.draining.0);
        for service in &self.record.state.services {
            for backend in service.backends.iter().filter(|backend| backend.quiesced) {
                let connections = self.left(backend);
                if former.get(&backend.slot) != Some(&connections) {
                    // Not logged: a line a second would drown the others.
                    self.events.tell_readers(EventKind::QuiesceProgress {
                        service: service.config.name.clone(),
                        backend: backend.config.name.clone(),
                        connections,
                    });
                }
                self.draining.0.insert(backend.slot, connections);
            }
        }
    }

    /// Takes backends down whose deadline has passed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) async fn keep_deadlines(&mut self) -> Result<(), ApiError> {
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
