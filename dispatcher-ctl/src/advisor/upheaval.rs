//! Changes of this host's own addresses and NICs.
//!
//! An answer to a probe needs the address that it was sent from. Where that goes for a moment, as when the network is restarted,
//! the backend's answers are lost here. So a probe that fails across such a change, or soon after it, says nothing of the backend.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long after a change answers may still be lost: others have to find the address again.
const SETTLED: Duration = Duration::from_secs(1);

/// When the kernel last reported a change.
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Takes in that the kernel has reported a change.
pub fn note() {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a change was reported since a moment, or shortly before it.
pub(super) fn has_passed(since: Instant) -> bool {
    let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.is_some_and(|last| last + SETTLED > since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_across_a_probe_and_for_a_second() {
        let before = Instant::now();
        note();
        let now = Instant::now();
        assert!(has_passed(before) && has_passed(now));
        assert!(!has_passed(now + SETTLED));
    }
}
