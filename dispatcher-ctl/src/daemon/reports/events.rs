//! Sends events to the log, to readers and to user exits ([`Events::log_and_send`]).
//!
//! Sending never waits: a reader that is too slow loses the oldest events, and learns how many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::exits::Exits;
use crate::{
    api::types::{Event, EventKind},
    daemon::clock,
};

/// Events that a reader may be behind before it loses some.
const KEPT: usize = 4096;

/// Sends events; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Events {
    bus: Arc<Mutex<Bus>>,
    exits: Exits,
}

#[derive(Debug)]
struct Bus {
    readers: broadcast::Sender<Event>,
    /// Id of the last event.
    last: u64,
    /// How many events reported a changed weight.
    weight_updates: u64,
}

impl Default for Bus {
    fn default() -> Self {
        let (readers, _) = broadcast::channel(KEPT);
        Self { readers, last: 0, weight_updates: 0 }
    }
}

impl Events {
    /// Sends an event to the log, to readers and to user exits.
    pub(in crate::daemon) fn log_and_send(&self, kind: EventKind) {
        if kind.is_bad() {
            tracing::warn!("{kind}");
        } else {
            tracing::info!("{kind}");
        }
        self.send(kind);
    }

    /// As [`Events::log_and_send`], but not to the log, which reports it in other words or not at all.
    pub(in crate::daemon) fn send(&self, kind: EventKind) {
        let mut bus = self.bus();
        let time = clock::epoch_seconds();
        // Ids also grow from one daemon to the next, as long as the clock does.
        let id = ((time * 1e6) as u64).max(bus.last + 1);
        bus.last = id;
        bus.weight_updates += u64::from(matches!(kind, EventKind::WeightChanged { .. }));
        let event = Event { id, time, kind };
        self.exits.push(&event);
        // Nobody may be listening.
        let _ = bus.readers.send(event);
    }

    /// Commands that are run at events.
    pub(in crate::daemon) const fn exits(&self) -> &Exits {
        &self.exits
    }

    /// A reader of all events from now on.
    pub(in crate::daemon) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.bus().readers.subscribe()
    }

    /// How many weights have changed since the daemon started.
    pub(in crate::daemon) fn weight_updates(&self) -> u64 {
        self.bus().weight_updates
    }

    fn bus(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::*;

    #[test]
    fn ids_grow_and_every_reader_gets_them() {
        let events = Events::default();
        let (mut one, mut two) = (events.subscribe(), events.subscribe());
        for changes in 0..100 {
            events.log_and_send(EventKind::Reloaded { changes });
        }
        let mut last = 0;
        for changes in 0..100 {
            let (event, same) = (one.try_recv().unwrap(), two.try_recv().unwrap());
            assert_eq!((&event, &event.kind), (&same, &EventKind::Reloaded { changes }));
            assert!(event.id > last, "{} after {last}", event.id);
            last = event.id;
        }
        assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_it_missed() {
        let events = Events::default();
        let mut slow = events.subscribe();
        for changes in 0..KEPT + 10 {
            events.send(EventKind::Reloaded { changes });
        }
        assert_eq!(slow.recv().await, Err(RecvError::Lagged(10)));
        assert_eq!(slow.recv().await.unwrap().kind, EventKind::Reloaded { changes: 10 });
    }
}
