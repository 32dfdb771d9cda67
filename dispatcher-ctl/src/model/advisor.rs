//! How a service's backends are probed.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;

/// How a service's backends are probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Advisor {
    /// What is exchanged.
    pub kind: AdvisorKind,
    /// With whom.
    pub target: Target,
    /// Port; none: the service's.
    pub port: Option<u16>,
    /// Path that is asked for (`http`).
    pub path: String,
    /// Host that is asked (`http`); none: the VIP.
    pub host: Option<String>,
    /// Statuses that are good (`http`).
    pub expect_status: Statuses,
    /// Text that the answer's body must contain (`http`).
    pub expect_body: Option<String>,
    /// Time from one probe to the next, give or take a tenth.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a connection may take.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long the exchange on it may take.
    #[serde(with = "duration")]
    pub receive_timeout: Duration,
    /// Good probes in a row after which a backend that is down is up.
    pub rise: u32,
    /// Bad probes in a row after which a backend that is up is down.
    pub fall: u32,
}

/// What a probe exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvisorKind {
    /// A TCP connection, made and closed.
    Connect,
    /// An HTTP request.
    Http,
}

/// Whom a probe talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The backend's own address.
    Address,
}

impl Advisor {
    /// One of this kind, with every other setting at its default.
    #[must_use]
    pub fn new(kind: AdvisorKind) -> Self {
        Self {
            kind,
            target: Target::Address,
            port: None,
            path: "/".to_owned(),
            host: None,
            expect_status: Statuses(vec![(200, 399)]),
            expect_body: None,
            interval: Duration::from_secs(7),
            connect_timeout: Duration::from_secs(2),
            receive_timeout: Duration::from_secs(2),
            rise: 1,
            fall: 1,
        }
    }
}

impl fmt::Display for Advisor {
    /// What differs from the default, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new(self.kind);
        write!(f, "{} of the {}", self.kind, self.target)?;
        if let Some(port) = self.port {
            write!(f, ", port {port}")?;
        }
        if self.kind == AdvisorKind::Http {
            write!(f, ", path {}, expect_status {}", self.path, self.expect_status)?;
            for (key, value) in [("host", &self.host), ("expect_body", &self.expect_body)] {
                value.as_ref().map_or(Ok(()), |value| write!(f, ", {key} {value:?}"))?;
            }
        }
        write!(f, ", interval {}", duration::text(self.interval))?;
        for (key, value, default) in [
            ("connect_timeout", self.connect_timeout, default.connect_timeout),
            ("receive_timeout", self.receive_timeout, default.receive_timeout),
        ] {
            if value != default {
                write!(f, ", {key} {}", duration::text(value))?;
            }
        }
        write!(f, ", rise {}, fall {}", self.rise, self.fall)
    }
}

/// A set of HTTP statuses, as ranges: `200-399`, `200,204,301-302`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Statuses {
    /// What a configuration may say.
    pub const EXPECTED: &'static str =
        "statuses from 100 to 599 such as \"200-399\" or \"200,204\"";

    /// Whether a status is in it.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl std::str::FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (100 <= first && first <= last && last <= 599).then_some((first, last))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| format!("{text:?} is no set of {}", Self::EXPECTED))
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.to_string()
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for text in ["200-399", "200,204,301-302", "599"] {
            assert_eq!(text.parse::<Statuses>().unwrap().to_string(), text);
        }
        let statuses: Statuses = "200,301-302".parse().unwrap();
        let held = [199, 200, 201, 300, 301, 302, 303].map(|status| statuses.contains(status));
        assert_eq!(held, [false, true, false, false, true, true, false]);
        for wrong in ["", "20", "200-", "399-200", "600", "2xx", "200;204"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }
}
