//! What is reported: events for the log, for readers and for user exits, and what `status` shows of the daemon itself.
//!
//! [`Reports`] owns it. [`events`] sends events, [`changes`] finds those that follow from a change of the state, [`exits`]
//! runs commands at them, [`draining`] follows quiesced backends, and [`problems`] keeps the log's last warnings.

mod changes;
mod draining;
mod events;
mod exits;
mod problems;

use std::path::Path;

use self::draining::Draining;
pub use self::problems::Problems;
pub(super) use self::{
    changes::Cause,
    draining::{Left, past_deadline},
    events::Events,
};
use super::clock;
use crate::{
    api::types::{ApiError, ConfigStatus, EventKind, ExitCount, LoggedError},
    model::{Backend, State},
    reconcile::Change,
};

/// Everything that is reported, and what of it was reported last.
#[derive(Debug)]
pub(super) struct Reports {
    events: Events,
    problems: Problems,
    draining: Draining,
    config: ConfigStatus,
    /// Since when more connections than `syn_guard` are half-open, if they are; seconds since the epoch.
    guarded_since: Option<f64>,
    /// When the daemon started, in seconds since the epoch.
    started: f64,
}

impl Reports {
    /// Begins with a daemon that has just read this file.
    pub(super) fn new(file: &Path, problems: Problems) -> Self {
        let config = ConfigStatus {
            file: file.display().to_string(),
            reload_success: true,
            last_reload: clock::epoch_seconds(),
            note: None,
        };
        Self {
            events: Events::default(),
            problems,
            draining: Draining::default(),
            config,
            guarded_since: None,
            started: clock::epoch_seconds(),
        }
    }

    /// Where events are sent.
    pub(super) const fn events(&self) -> &Events {
        &self.events
    }

    /// Reports the events of a change of the state. The log has the change line by line, as a plan.
    pub(super) fn report_change(&self, change: &Change, cause: Cause) {
        for event in changes::events(change, cause) {
            self.events.send(event);
        }
    }

    /// Reports backends that went down or came up, and services that have none.
    pub(super) fn report_health(&self, events: Vec<EventKind>) {
        for event in events {
            if event.backend().is_some() {
                // The log already has the reason.
                self.events.send(event);
            } else {
                self.events.log_and_send(event);
            }
        }
    }

    /// Reports when more connections become half-open than `syn_guard`, and when no longer.
    pub(super) fn watch_guard(&mut self, half_open_connections: u64, syn_guard: u64) {
        let now = clock::epoch_seconds();
        match (half_open_connections > syn_guard, self.guarded_since) {
            (true, None) => {
                self.guarded_since = Some(now);
                self.events
                    .log_and_send(EventKind::HalfOpenAlert { half_open_connections, syn_guard });
            }
            (false, Some(since)) => {
                self.guarded_since = None;
                let seconds = now - since;
                let clear = EventKind::HalfOpenClear { half_open_connections, syn_guard, seconds };
                self.events.log_and_send(clear);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Since when more connections than `syn_guard` are half-open, if they are; seconds since the epoch.
    pub(super) const fn guarded_since(&self) -> Option<f64> {
        self.guarded_since
    }

    /// Reports how many connections quiesced backends have left, if that has changed.
    pub(super) fn report_draining(&mut self, state: &State, left: impl Fn(&Backend) -> Left) {
        self.draining.report(state, left, &self.events);
    }

    /// Notes how a reload ended, and logs why it was refused.
    pub(super) fn end_reload<T>(&mut self, result: &Result<T, ApiError>) {
        self.config.reload_success = result.is_ok();
        self.config.last_reload = clock::epoch_seconds();
        if let Err(error) = result {
            tracing::error!("reload refused: {error}");
            error.errors.iter().for_each(|line| tracing::error!("{line}"));
        }
    }

    /// The configuration file, and how its last reload ended; without a note.
    pub(super) const fn config(&self) -> &ConfigStatus {
        &self.config
    }

    /// How commands of user exits have ended.
    pub(super) fn exits(&self) -> Vec<ExitCount> {
        self.events.exits().counts()
    }

    /// The last warnings and errors of the log.
    pub(super) fn last_errors(&self) -> Vec<LoggedError> {
        self.problems.list()
    }

    /// When the daemon started, in seconds since the epoch.
    pub(super) const fn started(&self) -> f64 {
        self.started
    }
}
