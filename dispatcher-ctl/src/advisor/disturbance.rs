//! Disturbances on this host, across which a probe that fails says nothing of the backend: this process stood still, this host's
//! own addresses or NICs changed, or the path of probes of VIPs was replaced.
//!
//! An answer to a probe needs the address that the probe was sent from. If that is gone for a moment, as when the network is
//! restarted, the answer is lost here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::probe::Target;
use crate::{
    prober::{Path, Through},
    standstill::Mark,
};

/// The shortest standstill across which a failure says nothing: the backend may have given the probe up. (A shorter one only
/// extends the time limits of the probe.)
pub(super) const TOO_STILL: Duration = Duration::from_millis(500);
/// How long after a change of addresses answers may still be lost: others have to find the address again.
const SETTLED: Duration = Duration::from_secs(1);

/// When the kernel last reported a change of addresses or NICs.
static LAST_CHANGE: Mutex<Option<Instant>> = Mutex::new(None);

/// Watches for disturbances since a probe began.
pub(super) struct Watch<'t> {
    mark: Mark,
    since: Instant,
    path: Option<(&'t Through, Arc<Path>)>,
}

/// Notes that the kernel has reported a change of addresses or NICs.
pub fn note_change() {
    *LAST_CHANGE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

impl<'t> Watch<'t> {
    /// Begins, if a probe of this target can be sent at all.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn begin(target: &'t Target) -> Result<Self, String> {
        let path = match &target.through {
            Some(through) => Some((through, through.ready(target.address.ip()).await?)),
            None => None,
        };
        Ok(Self { mark: Mark::now(), since: Instant::now(), path })
    }

    /// Checks that nothing has happened since.
    ///
    /// # Errors
    /// What has.
    pub(super) async fn end(self) -> Result<(), String> {
        if self.mark.stood_still() >= TOO_STILL {
            return Err("this process did not run for a while".to_owned());
        }
        if has_changed(self.since) {
            return Err("this host's addresses or NICs changed meanwhile".to_owned());
        }
        match self.path {
            Some((through, path)) => through.is_still(&path).await,
            None => Ok(()),
        }
    }
}

/// Whether a change was reported since a moment, or shortly before it.
fn has_changed(since: Instant) -> bool {
    let last = *LAST_CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    last.is_some_and(|last| last + SETTLED > since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_across_a_probe_and_for_a_second() {
        let before = Instant::now();
        note_change();
        let now = Instant::now();
        assert!(has_changed(before) && has_changed(now));
        assert!(!has_changed(now + SETTLED));
    }
}
