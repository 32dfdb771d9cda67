//! User exits: runs the commands that are configured for events, one after the other, in a task of its own.
//!
//! Reporting an event never blocks: events wait in a bounded queue, and the oldest are dropped when it is full.

mod command;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::command::Outcome;
use crate::{
    api::types::{Event, ExitCount},
    model::Exits as Settings,
};

/// The queue; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Exits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    waiting: VecDeque<Event>,
    /// How commands have ended, by the event's word.
    counts: BTreeMap<&'static str, Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    success: u64,
    failure: u64,
    timeout: u64,
    dropped: u64,
}

impl Exits {
    /// Takes new settings, also for events that wait.
    pub(in crate::daemon) fn set(&self, settings: &Settings) {
        let mut inner = self.inner();
        if inner.settings != *settings {
            inner.settings = settings.clone();
        }
    }

    /// Queues an event, if there is a command for it.
    pub(in crate::daemon) fn push(&self, event: &Event) {
        let mut inner = self.inner();
        if inner.settings.command(event.kind.word()).is_none() {
            return;
        }
        while inner.waiting.len() >= inner.settings.queue.max(1) {
            let Some(oldest) = inner.waiting.pop_front() else { break };
            inner.counts.entry(oldest.kind.word()).or_default().dropped += 1;
            tracing::warn!(
                "exit {}: the queue is full, dropped: {}",
                oldest.kind.word(),
                oldest.kind
            );
        }
        inner.waiting.push_back(event.clone());
        drop(inner);
        self.0.more.notify_one();
    }

    /// Runs commands until `shutdown`; one that then runs is killed.
    pub(in crate::daemon) async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.work() => {}
        }
        let waiting = self.inner().waiting.len();
        if waiting > 0 {
            tracing::warn!("exits: {waiting} are not run, the daemon stops");
        }
    }

    async fn work(&self) {
        loop {
            let Some((event, words, timeout)) = self.next() else {
                self.0.more.notified().await;
                continue;
            };
            let word = event.kind.word();
            let outcome = command::run(&words, &event, timeout).await;
            let program = words.first().map_or("", String::as_str);
            let mut inner = self.inner();
            let counts = inner.counts.entry(word).or_default();
            match outcome {
                Outcome::Success => counts.success += 1,
                Outcome::Failure(why) => {
                    counts.failure += 1;
                    tracing::warn!("exit {word}: {program}: {why}");
                }
                Outcome::Timeout => {
                    counts.timeout += 1;
                    let seconds = timeout.as_secs_f64();
                    tracing::warn!("exit {word}: {program}: killed, not done after {seconds} s");
                }
            }
        }
    }

    /// The next event with its command, and how long that may take.
    fn next(&self) -> Option<(Event, Vec<String>, std::time::Duration)> {
        let mut inner = self.inner();
        loop {
            let event = inner.waiting.pop_front()?;
            // A reload may have taken it away meanwhile.
            if let Some(words) = inner.settings.command(event.kind.word()) {
                return Some((event, words.clone(), inner.settings.timeout));
            }
        }
    }

    /// How commands have ended: of every event that has a command, or had one that ran.
    pub(in crate::daemon) fn counts(&self) -> Vec<ExitCount> {
        let inner = self.inner();
        let count = |(word, command): (&'static str, Option<_>)| {
            let counts = inner.counts.get(word).copied();
            let Counts { success, failure, timeout, dropped } = match command {
                Some(_) => counts.unwrap_or_default(),
                None => counts?,
            };
            Some(ExitCount { event: word.into(), success, failure, timeout, dropped })
        };
        inner.settings.commands().into_iter().filter_map(count).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::EventKind;

    fn settings(event: &str, queue: usize) -> Settings {
        let said = serde_json::json!({ event: ["/bin/true"], "timeout": "10s", "queue": queue });
        serde_json::from_value(said).unwrap()
    }

    fn alert(id: u64) -> Event {
        Event { id, time: 1.0, kind: EventKind::ManagerAlert { service: "web".to_owned() } }
    }

    #[test]
    fn a_full_queue_drops_the_oldest() {
        let exits = Exits::default();
        exits.push(&alert(1));
        assert_eq!(exits.next(), None, "there is no command for it");
        exits.set(&settings("manager_alert", 3));
        (2..=7).for_each(|id| exits.push(&alert(id)));
        exits.push(&Event { kind: EventKind::Reloaded { changes: 1 }, ..alert(8) });
        let ids: Vec<_> = std::iter::from_fn(|| exits.next()).map(|(event, ..)| event.id).collect();
        assert_eq!(ids, [5, 6, 7]);
        let [counts] = exits.counts().try_into().unwrap();
        assert_eq!((counts.event.as_ref(), counts.dropped), ("manager_alert", 3));
    }

    #[test]
    fn what_waits_goes_by_new_settings() {
        let exits = Exits::default();
        exits.set(&settings("manager_alert", 3));
        exits.push(&alert(1));
        exits.set(&settings("manager_clear", 3));
        assert_eq!(exits.next(), None);
    }

    #[tokio::test]
    async fn commands_are_run_and_counted() {
        let exits = Exits::default();
        let mut settings = settings("manager_alert", 10);
        settings.server_up = Some(vec!["/bin/false".into()]);
        exits.set(&settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(exits.clone().run(shutdown.clone()));
        exits.push(&alert(1));
        let up = EventKind::ServerUp {
            service: "web".into(),
            backend: "web-1".into(),
            address: "10.0.0.1".parse().unwrap(),
            reason: "down by hand".into(),
        };
        exits.push(&Event { kind: up, ..alert(2) });
        exits.push(&alert(3));
        let done = || exits.counts().iter().map(|c| c.success + c.failure).sum::<u64>();
        while done() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let counts = exits.counts();
        assert_eq!((counts[0].event.as_ref(), counts[0].failure), ("server_up", 1));
        assert_eq!((counts[1].event.as_ref(), counts[1].success), ("manager_alert", 2));
        shutdown.cancel();
        task.await.unwrap();
    }
}
