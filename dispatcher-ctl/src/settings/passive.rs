//! Passive signals: failed handshakes of clients that count as a bad probe.

use std::time::Duration;

use super::{bounds::Bounds, row::tables, settings, spec::Spec};
use crate::values::duration;

settings! {
    /// Thresholds of failed client handshakes, in a window of time, that count as a bad probe.
    #[derive(Copy, Eq, Hash)]
    Passive at "in passive of [service.advisor]", also [], later [];
    given {}
    required {}
    file {
        /// How long handshakes are counted before they are judged.
        #[serde(with = "duration")]
        window: Duration = Duration::from_secs(5) => Spec::NEW.within(WINDOW);
        /// Handshakes with a repeated SYN that make a window bad; 0: they do not count.
        retried: u32 = 0 => ANY;
        /// Expired half-open connections that make a window bad; 0: they do not count.
        unanswered: u32 = 0 => ANY;
    }
}

/// From the shortest window: windows are checked once a second.
const WINDOW: Bounds = Bounds::Times(Duration::from_secs(1), Duration::from_secs(3600));
const ANY: Spec = Spec::NEW.numbers(0, u32::MAX as i64);

impl Passive {
    /// Whether anything is counted.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.retried > 0 || self.unanswered > 0
    }
}

tables!(Passive);
