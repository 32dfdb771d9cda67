//! Passive signals: failed handshakes of clients that count as a bad probe.

use std::time::Duration;

use super::{row::tables, settings, spec::Spec};
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
        window: Duration = Duration::from_secs(5) => Spec::NEW.bounds("`\"1s\"` to `\"1h\"`");
        /// Handshakes whose SYN was seen again, in a window, that make it bad; 0: they do not matter.
        retried: u32 = 0 => ANY;
        /// Half-open connections that ran out, in a window, that make it bad; 0: they do not matter.
        unanswered: u32 = 0 => ANY;
    }
}

const ANY: Spec = Spec::NEW.whole(0, u32::MAX as i64, "0..=4294967295");

impl Default for Passive {
    fn default() -> Self {
        Self::new()
    }
}

impl Passive {
    /// Whether anything is counted.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.retried > 0 || self.unanswered > 0
    }
}

tables!(Passive);
