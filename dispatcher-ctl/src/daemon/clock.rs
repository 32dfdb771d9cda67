//! The daemon's only source of time; how long this process ran is the business of [`crate::standstill`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::civil::Weekday;

use crate::{model::Day, reconcile::LocalTime};

/// Seconds since the epoch.
pub(super) fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Milliseconds since the epoch.
pub(super) fn epoch_ms() -> u64 {
    (epoch_seconds() * 1000.0) as u64
}

/// Day and time of day on this host's clock: in the zone of `TZ`, else of `/etc/localtime`, else UTC.
pub(super) fn local() -> LocalTime {
    let now = jiff::Zoned::now();
    let seconds = |hours: i8, minutes: i8, seconds: i8| {
        u32::from(hours.unsigned_abs()) * 3600
            + u32::from(minutes.unsigned_abs()) * 60
            + u32::from(seconds.unsigned_abs())
    };
    LocalTime {
        day: match now.weekday() {
            Weekday::Monday => Day::Mon,
            Weekday::Tuesday => Day::Tue,
            Weekday::Wednesday => Day::Wed,
            Weekday::Thursday => Day::Thu,
            Weekday::Friday => Day::Fri,
            Weekday::Saturday => Day::Sat,
            Weekday::Sunday => Day::Sun,
        },
        second: seconds(now.hour(), now.minute(), now.second()),
    }
}

/// Now, for measuring durations.
pub(super) fn now() -> Instant {
    Instant::now()
}
