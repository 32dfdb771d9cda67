//! The last warnings and errors of the log, for `status`.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use crate::api::types::LoggedError;
use crate::daemon::clock;

/// Entries kept.
const KEPT: usize = 20;

/// The last warnings and errors, oldest first. As a layer of the log it fills itself.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<VecDeque<LoggedError>>>);

impl Problems {
    /// The entries.
    #[must_use]
    pub fn list(&self) -> Vec<LoggedError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn add(&self, message: String) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(LoggedError { time: clock::epoch_seconds(), message });
    }
}

impl<S: Subscriber> Layer<S> for Problems {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let ours = event.metadata().target().starts_with("dispatcher");
        if ours && *event.metadata().level() <= Level::WARN {
            let mut line = Line::default();
            event.record(&mut line);
            self.add(line.0);
        }
    }
}

/// An event as one line: its message, then its fields.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn warnings_are_kept_and_old_ones_make_room() {
        let problems = Problems::default();
        let subscriber = tracing_subscriber::registry().with(problems.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("fine");
            for n in 0..30 {
                tracing::warn!(target: "dispatcher", backend = "web/web-1", "no mac, try {n}");
            }
        });
        let kept = problems.list();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0].message, "no mac, try 10 backend=web/web-1");
    }
}
