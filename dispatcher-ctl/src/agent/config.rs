//! Configuration of the metric agent: what it measures, where it listens, and its key.

use std::{net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    files::{self, NotText},
    model::AGENT_PORT,
};

/// Largest file, in bytes.
const LARGEST: u64 = 1 << 20;
/// Shortest interval of measurements.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval of measurements.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
const FULL: u32 = 100;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where it listens.
    #[serde(default = "any_address")]
    pub listen: SocketAddr,
    /// File with the key that it shares with the dispatcher.
    pub key_file: PathBuf,
    /// Interval of measurements; also the time limit of a command.
    #[serde(default = "usual_interval", deserialize_with = "duration")]
    pub interval: Duration,
    /// The parts of the load; their proportions sum to 100.
    #[serde(default = "usual_metrics", rename = "metric")]
    pub metrics: Vec<Metric>,
}

/// A part of the load.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What is measured.
    pub kind: Source,
    /// Its share of the load, in per cent.
    pub proportion: u32,
    /// Program and its arguments, if that is the kind.
    #[serde(default)]
    pub command: Vec<String>,
}

/// What is measured; each yields 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Share of time in which the processors were busy.
    Cpu,
    /// Share of memory that is not available to programs.
    Memory,
    /// The number that a command prints; -1 takes the machine down.
    Command,
}

impl Source {
    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Command => "command",
        }
    }
}

impl AgentConfig {
    /// An agent with this key and defaults for all else.
    #[must_use]
    pub fn new(key_file: PathBuf) -> Self {
        let (listen, interval, metrics) = (any_address(), usual_interval(), usual_metrics());
        Self { listen, key_file, interval, metrics }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or the first mistake in it.
    pub async fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let contents = files::read_in_time(path, LARGEST).await;
        let contents = contents.map_err(|error| format!("{file}: {error}"))?;
        let text =
            files::text(contents.bytes).map_err(|NotText { line, column, message, hint }| {
                format!("{file}:{line}:{column}: {message} (hint: {hint})")
            })?;
        let config = toml::from_str::<Self>(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            format!("{file}:{line}: {}", error.message().replace('\n', ", "))
        })?;
        config.check().map_err(|error| format!("{file}: {error}"))?;
        Ok(config)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), String> {
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&self.interval) {
            let interval = humantime::format_duration(self.interval);
            return Err(format!("interval {interval} is out of range, expected 100ms to 1m"));
        }
        for metric in &self.metrics {
            let (kind, command) = (metric.kind.word(), &metric.command);
            let is_named = command.first().is_some_and(|program| program.starts_with('/'));
            if (metric.kind == Source::Command) == command.is_empty() {
                let expected = if command.is_empty() { "a program" } else { "none" };
                return Err(format!("metric {kind}: command {command:?}, expected {expected}"));
            }
            if metric.kind == Source::Command && !is_named {
                return Err(format!(
                    "metric {kind}: command {command:?} names no program, expected its whole path from /"
                ));
            }
        }
        let sum = self.metrics.iter().try_fold(0_u32, |sum, m| sum.checked_add(m.proportion));
        match sum {
            Some(FULL) => Ok(()),
            sum => {
                let sum = sum.map_or("too much".to_owned(), |sum| sum.to_string());
                Err(format!("the proportions of all metrics sum to {sum}, expected 100"))
            }
        }
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    /// Parses an argument of the command line: `cpu=50`, `memory=30`, `/usr/local/bin/queue=20`.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected cpu=N, memory=N or PROGRAM=N";
        let (what, proportion) = text.rsplit_once('=').ok_or(EXPECTED)?;
        let proportion = proportion.parse().map_err(|_| EXPECTED)?;
        let (kind, command) = match what {
            "cpu" => (Source::Cpu, Vec::new()),
            "memory" => (Source::Memory, Vec::new()),
            program if program.starts_with('/') => (Source::Command, vec![program.to_owned()]),
            _ => return Err(EXPECTED.to_owned()),
        };
        Ok(Self { kind, proportion, command })
    }
}

fn any_address() -> SocketAddr {
    SocketAddr::from(([0; 8], AGENT_PORT))
}

const fn usual_interval() -> Duration {
    Duration::from_secs(2)
}

fn usual_metrics() -> Vec<Metric> {
    let half = |kind| Metric { kind, proportion: FULL / 2, command: Vec::new() };
    vec![half(Source::Cpu), half(Source::Memory)]
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|_| {
        serde::de::Error::custom(format!("{text:?} is no duration, expected one such as \"2s\""))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<AgentConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        let shorter = |error: String| error.replace(&format!("{}", path.display()), "agent.toml");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(AgentConfig::read(&path)).map_err(shorter)
    }

    #[test]
    fn the_example_is_read() {
        let config = read(include_str!("../../../examples/agent.toml")).unwrap();
        assert_eq!(config.listen, any_address());
        assert_eq!(config.metrics.len(), 3);
        let least = read("key_file = \"/k\"").unwrap();
        assert_eq!(least, AgentConfig::new("/k".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("", "agent.toml:1: missing field `key_file`"),
            (
                "key_file = \"/k\"\ninterval = \"2\"",
                "agent.toml:2: \"2\" is no duration, expected one such as \"2s\"",
            ),
            (
                "key_file = \"/k\"\ninterval = \"1ms\"",
                "agent.toml: interval 1ms is out of range, expected 100ms to 1m",
            ),
            (
                "key_file = \"/k\"\nmetric = [{kind = \"cpu\", proportion = 60}]",
                "agent.toml: the proportions of all metrics sum to 60, expected 100",
            ),
            (
                "key_file = \"/k\"\nmetric = [{kind = \"command\", proportion = 100}]",
                "agent.toml: metric command: command [], expected a program",
            ),
            (
                "key_file = \"/k\"\nmetric = [{kind = \"cpu\", proportion = 100, command = [\"/a\"]}]",
                "agent.toml: metric cpu: command [\"/a\"], expected none",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want);
        }
        read("key_file = \"/k\"\ncolour = 1").unwrap_err();
    }

    #[test]
    fn a_metric_is_typed_as_kind_and_proportion() {
        let metric: Metric = "/usr/bin/a=b=20".parse().unwrap();
        assert_eq!((metric.proportion, &*metric.command[0]), (20, "/usr/bin/a=b"));
        assert_eq!("cpu=50".parse::<Metric>().unwrap().kind, Source::Cpu);
        for wrong in ["cpu", "cpu=", "disk=5", "=5", "cpu=-1"] {
            wrong.parse::<Metric>().unwrap_err();
        }
    }
}
