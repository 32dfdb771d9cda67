//! Standstills of this process: it was stopped, frozen, suspended, or had no CPU.
//!
//! The datapath went on counting meanwhile, so nobody is judged by what was counted in that time.

use std::time::Duration;

use crate::{
    model::duration,
    standstill::{Mark, running},
};

/// The shortest standstill that is noted.
const NOTED: Duration = Duration::from_secs(1);
/// How long after one the table may hold connections that should have been swept: a large table is swept every 4 s.
const SETTLING: Duration = Duration::from_secs(6);

/// When this process last stood still.
#[derive(Debug)]
pub(super) struct Standstill {
    seen: Mark,
    /// When it ended, in the time of [`running`].
    ended: Option<Duration>,
}

impl Default for Standstill {
    fn default() -> Self {
        Self { seen: Mark::now(), ended: None }
    }
}

impl Standstill {
    /// Whether this process has stood still since this was last asked.
    pub(super) fn has_passed(&mut self) -> bool {
        let still = self.seen.stood_still();
        if still < NOTED {
            return false;
        }
        *self = Self { seen: Mark::now(), ended: Some(running()) };
        let time = duration::text(Duration::from_millis(still.as_millis() as u64));
        tracing::warn!("the controller stood still for {time}: no backend is judged by that time");
        true
    }

    /// Whether one has just ended.
    pub(super) fn is_settling(&self) -> bool {
        self.ended.is_some_and(|at| running().saturating_sub(at) < SETTLING)
    }
}
