//! What follows when this process has stood still: it was stopped, frozen, suspended, or had no CPU.
//!
//! The datapath went on meanwhile, and counted; whoever was to be judged by what was counted in a time is not.

use std::{mem::replace, time::Duration};

use crate::daemon::core::Core;
use crate::{
    model::duration,
    standstill::{Mark, running},
};

/// From as long on a standstill is noted.
const NOTED: Duration = Duration::from_secs(1);
/// So long after one the connection table may hold what should have been swept: a large table is swept every 4 s.
const SETTLING: Duration = Duration::from_secs(6);

/// When this process last stood still.
#[derive(Debug)]
pub(in crate::daemon) struct Resumed {
    seen: Mark,
    /// When it went on, as [`running`] has it.
    at: Option<Duration>,
}

impl Default for Resumed {
    fn default() -> Self {
        Self { seen: Mark::now(), at: None }
    }
}

impl Core {
    /// Notes that this process has stood still, if it has since this was last looked at.
    pub(in crate::daemon) fn watch_standstill(&mut self) {
        let still = self.resumed.seen.stood_still();
        if still < NOTED {
            return;
        }
        let _before =
            replace(&mut self.resumed, Resumed { seen: Mark::now(), at: Some(running()) });
        let time = duration::text(Duration::from_millis(still.as_millis() as u64));
        tracing::warn!("the controller stood still for {time}: no backend is judged by that time");
        self.windows.forget();
    }

    /// Whether it has gone on only just: the table may hold connections whose time was up long ago.
    pub(in crate::daemon) fn is_settling(&self) -> bool {
        self.resumed.at.is_some_and(|at| running().saturating_sub(at) < SETTLING)
    }
}
