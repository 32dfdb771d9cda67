//! Bounds of numbers and durations. The table of settings declares them; reader, check, documentation and the API's
//! description use them from there.

use std::time::Duration;

/// Which values are valid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bounds {
    /// Numbers from the first to the second.
    Numbers(i64, i64),
    /// Durations from the first to the second.
    Times(Duration, Duration),
    /// Durations of more than zero, up to this one.
    MoreThanZero(Duration),
    /// The same, where a message names only the end that was missed.
    Timeouts(Duration),
    /// Durations up to this one.
    UpTo(Duration),
}

impl Bounds {
    /// The least and the greatest valid number, of durations in seconds. The greatest is infinite if there is none.
    pub(crate) fn ends(self) -> (f64, f64) {
        match self {
            Self::Numbers(least, i64::MAX) => (least as f64, f64::INFINITY),
            Self::Numbers(least, greatest) => (least as f64, greatest as f64),
            Self::Times(shortest, longest) => (shortest.as_secs_f64(), longest.as_secs_f64()),
            Self::MoreThanZero(longest) | Self::Timeouts(longest) | Self::UpTo(longest) => {
                (0.0, longest.as_secs_f64())
            }
        }
    }

    /// Whether the least number is not valid itself.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::MoreThanZero(_) | Self::Timeouts(_))
    }

    /// Whole numbers that the reader takes.
    pub(crate) const fn whole(self) -> (i64, i64) {
        match self {
            Self::Numbers(least, greatest) => (least, greatest),
            Self::Times(..) | Self::MoreThanZero(_) | Self::Timeouts(_) | Self::UpTo(_) => {
                (0, i64::MAX)
            }
        }
    }

    /// What is wrong with a number that is not valid, and what is valid. A duration is given in seconds.
    pub(crate) fn complaint(self, number: f64) -> Option<(&'static str, String)> {
        let (least, greatest) = self.ends();
        if number >= UNWRITABLE && greatest >= UNWRITABLE {
            return Some(("is out of range", format!("{least}..={}", i64::MAX)));
        }
        if (least..=greatest).contains(&number) && !(self.is_open() && number == least) {
            return None;
        }
        Some(match self {
            Self::Timeouts(longest) | Self::UpTo(longest) if number > greatest => {
                ("is too long", Self::UpTo(longest).text(short))
            }
            Self::Timeouts(_) => ("is zero", self.text(short)),
            Self::Numbers(..) | Self::Times(..) | Self::MoreThanZero(_) | Self::UpTo(_) => {
                ("is out of range", self.text(short))
            }
        })
    }

    /// The valid values in words; `time` is how a duration is written.
    pub(crate) fn text(self, time: fn(Duration) -> String) -> String {
        match self {
            Self::Numbers(least, i64::MAX) => format!("{least} or more"),
            Self::Numbers(least, greatest) => format!("{least}..={greatest}"),
            Self::Times(shortest, longest) => format!("{} to {}", time(shortest), time(longest)),
            Self::MoreThanZero(longest) | Self::Timeouts(longest) => {
                format!("more than {} and at most {}", time(Duration::ZERO), time(longest))
            }
            Self::UpTo(longest) => format!("at most {}", time(longest)),
        }
    }
}

/// The first number that the configuration file cannot have: an integer of TOML has 64 bits with a sign.
const UNWRITABLE: f64 = (1_u64 << 63) as f64;

/// A number that may have 64 bits, none if TOML cannot have it, to compare with bounds: rounded, but never across that limit.
pub(crate) fn large(number: Option<i64>) -> f64 {
    number.map_or(UNWRITABLE, |number| (number as f64).min(UNWRITABLE.next_down()))
}

/// A duration in the largest unit of which it is a whole number: `72h`, `5m`, `100ms`.
pub(crate) fn short(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_valid_is_named() {
        let (tenth, hour) = (Duration::from_millis(100), Duration::from_secs(3600));
        for (bounds, good, bad, message) in [
            (Bounds::Numbers(1, 100), 1.0, 100.5, "is out of range, expected 1..=100"),
            (
                Bounds::Numbers(0, i64::MAX),
                large(Some(i64::MAX)),
                -1.0,
                "is out of range, expected 0 or more",
            ),
            (
                Bounds::Numbers(0, i64::MAX),
                0.0,
                large(None),
                "is out of range, expected 0..=9223372036854775807",
            ),
            (Bounds::Times(tenth, hour), 0.1, 0.0, "is out of range, expected 100ms to 1h"),
            (Bounds::Timeouts(hour), 1e-9, 0.0, "is zero, expected more than 0s and at most 1h"),
            (Bounds::Timeouts(hour), 3600.0, 3600.5, "is too long, expected at most 1h"),
            (Bounds::UpTo(72 * hour), 0.0, 1e6, "is too long, expected at most 72h"),
            (
                Bounds::MoreThanZero(hour / 60),
                60.0,
                0.0,
                "is out of range, expected more than 0s and at most 1m",
            ),
        ] {
            assert_eq!(bounds.complaint(good), None, "{bounds:?}");
            let (wrong, expected) = bounds.complaint(bad).unwrap();
            assert_eq!(format!("{wrong}, expected {expected}"), message);
        }
    }
}
