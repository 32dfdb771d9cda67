//! How the manager makes weights.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;

/// How the manager makes weights of what it learns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manager {
    /// Whether it rewrites weights.
    pub enabled: bool,
    /// Time from one look at the weights to the next.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Every how many intervals connections are counted anew.
    pub refresh: u32,
    /// Percent of a service's total weight that must change for its weights to be published.
    pub sensitivity: f64,
    /// How slowly weights follow their targets; 1: at once.
    pub smoothing: f64,
    /// Age from which what advisors and agents said no longer counts; none: it always does.
    #[serde(default, with = "report_timeout")]
    pub report_timeout: Option<Duration>,
    /// How much each input counts.
    pub proportions: Proportions,
}

impl Default for Manager {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: Duration::from_secs(2),
            refresh: 2,
            sensitivity: 5.0,
            smoothing: 1.5,
            report_timeout: None,
            proportions: Proportions::default(),
        }
    }
}

/// How much each of the four inputs counts: percent, together 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proportions {
    /// Active connections.
    #[schema(maximum = 100)]
    pub active: u32,
    /// New connections.
    #[schema(maximum = 100)]
    pub new: u32,
    /// What advisors report.
    #[schema(maximum = 100)]
    pub advisor: u32,
    /// What metric agents report.
    #[schema(maximum = 100)]
    pub system: u32,
}

impl Proportions {
    /// What a configuration may say.
    pub const EXPECTED: &'static str = "active, new, advisor and system, together 100";

    /// In the order in which reports have them: active, new, advisor, system.
    #[must_use]
    pub const fn all(self) -> [u32; 4] {
        [self.active, self.new, self.advisor, self.system]
    }

    /// From that order.
    #[must_use]
    pub const fn of([active, new, advisor, system]: [u32; 4]) -> Self {
        Self { active, new, advisor, system }
    }
}

impl Default for Proportions {
    fn default() -> Self {
        Self::of([50, 50, 0, 0])
    }
}

impl fmt::Display for Proportions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, new, advisor, system } = self;
        write!(f, "active {active}, new {new}, advisor {advisor}, system {system}")
    }
}

/// `report_timeout` as a configuration writes it: a duration, or `unlimited`.
pub mod report_timeout {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::model::duration;

    /// The word for none.
    pub const UNLIMITED: &str = "unlimited";
    /// What a configuration may say.
    pub const EXPECTED: &str = "a duration such as \"30s\", or \"unlimited\"";

    /// As text.
    #[must_use]
    pub fn text(value: Option<Duration>) -> String {
        value.map_or_else(|| UNLIMITED.to_owned(), duration::text)
    }

    /// From text; none where it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Option<Duration>> {
        match text {
            UNLIMITED => Some(None),
            text => humantime::parse_duration(text).ok().map(Some),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// As the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&text(*value))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(d)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not {EXPECTED}")))
    }
}
