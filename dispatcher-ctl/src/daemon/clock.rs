//! The daemon's only source of time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
pub(super) fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Milliseconds since the epoch.
pub(super) fn epoch_ms() -> u64 {
    (epoch_seconds() * 1000.0) as u64
}

/// Now, for measuring durations.
pub(super) fn now() -> Instant {
    Instant::now()
}
