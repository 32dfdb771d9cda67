//! Who is told what happens? The log, and everybody who listens: [`Events::tell`].
//!
//! Telling never waits: a reader that is too slow misses the oldest events, and is told how many. What follows from a change of
//! what runs is found in one place ([`mod@changes`]), which backends are up in another ([`super::health::states`]).

mod changes;
pub(super) mod exits;
pub(super) mod problems;
pub(super) mod quiesce;
mod report;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

pub(in crate::daemon) use self::changes::changes;

use self::exits::Exits;
use crate::{
    api::types::{Event, EventKind},
    daemon::clock,
};

/// Events that a reader may be behind before it misses some.
const KEPT: usize = 4096;

/// What runs has changed: by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Cause {
    /// It runs for the first time: nothing has changed.
    Start,
    /// Somebody, by command or API.
    Hand,
    /// The file.
    File,
    /// Probes.
    Advisor,
    /// The manager, which tells of weights itself: it knows why.
    Manager,
}

/// Tells events; cheap to clone.
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
}

impl Default for Bus {
    fn default() -> Self {
        let (readers, _) = broadcast::channel(KEPT);
        Self { readers, last: 0 }
    }
}

impl Events {
    /// Tells everybody, the log too.
    pub(in crate::daemon) fn tell(&self, kind: EventKind) {
        if kind.is_bad() {
            tracing::warn!("{kind}");
        } else {
            tracing::info!("{kind}");
        }
        self.tell_readers(kind);
    }

    /// Tells everybody but the log, which says it in other words, or is not to say it.
    pub(in crate::daemon) fn tell_readers(&self, kind: EventKind) {
        let mut bus = self.bus.lock().unwrap_or_else(PoisonError::into_inner);
        let time = clock::epoch_seconds();
        // Ids grow from one daemon to the next, too, as long as the clock does.
        let id = ((time * 1e6) as u64).max(bus.last + 1);
        bus.last = id;
        let event = Event { id, time, kind };
        self.exits.push(&event);
        // Nobody may be listening.
        let _ = bus.readers.send(event);
    }

    /// Commands that are run at events.
    pub(in crate::daemon) fn exits(&self) -> &Exits {
        &self.exits
    }

    /// What happens from now on.
    pub(in crate::daemon) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner).readers.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::*;

    #[test]
    fn ids_grow_and_everybody_is_told() {
        let events = Events::default();
        let (mut one, mut two) = (events.subscribe(), events.subscribe());
        for changes in 0..100 {
            events.tell(EventKind::Reloaded { changes });
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
            events.tell_readers(EventKind::Reloaded { changes });
        }
        assert_eq!(slow.recv().await, Err(RecvError::Lagged(10)));
        assert_eq!(slow.recv().await.unwrap().kind, EventKind::Reloaded { changes: 10 });
    }
}
