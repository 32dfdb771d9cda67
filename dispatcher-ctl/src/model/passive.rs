//! From how many handshakes that fail on is a backend's word doubted?

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;

/// What counts as a bad probe without being one: handshakes of clients that fail, in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passive {
    /// How long handshakes are counted before they are judged.
    #[serde(with = "duration")]
    pub window: Duration,
    /// SYNs seen again in a window that make it bad; 0: they do not matter.
    pub retried: u32,
    /// Half-open connections that ran out in a window that make it bad; 0: they do not matter.
    pub unanswered: u32,
}

impl Default for Passive {
    fn default() -> Self {
        Self { window: Duration::from_secs(5), retried: 0, unanswered: 0 }
    }
}

impl Passive {
    /// Whether anything is counted.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.retried > 0 || self.unanswered > 0
    }
}

impl fmt::Display for Passive {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { window, retried, unanswered } = self;
        let window = duration::text(*window);
        write!(f, "{{ window = \"{window}\", retried = {retried}, unanswered = {unanswered} }}")
    }
}
