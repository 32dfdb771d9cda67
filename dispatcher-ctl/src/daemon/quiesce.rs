//! How far are quiesced backends? Told with every tick in which it changes.

use std::collections::HashMap;

use super::core::Core;
use crate::api::types::EventKind;

/// Connections that quiesced backends had left when it was last told, by slot.
#[derive(Debug, Default)]
pub(super) struct Draining(HashMap<u32, u64>);

impl Core {
    /// Tells how many connections quiesced backends have left, where that has changed.
    pub(super) fn tell_progress(&mut self) {
        let former = std::mem::take(&mut self.draining.0);
        for service in &self.record.state.services {
            for backend in service.backends.iter().filter(|backend| backend.quiesced) {
                let connections = self.table.active().slot(backend.slot).active();
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
}
