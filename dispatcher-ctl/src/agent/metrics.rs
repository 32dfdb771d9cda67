//! Measures this machine's load: processors, memory, and the output of commands.

use std::{fs, time::Duration};

use super::{Metric, Report, Source};
use crate::command;

/// Time of all processors since boot, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Measures repeatedly.
#[derive(Debug)]
pub(super) struct Meter {
    metrics: Vec<Metric>,
    /// Time limit of a command.
    patience: Duration,
    before: Result<Ticks, String>,
}

impl Meter {
    /// Starts; the first measurement of the processors covers the time from now on.
    pub(super) fn new(metrics: Vec<Metric>, patience: Duration) -> Self {
        Self { metrics, patience, before: ticks() }
    }

    /// Measures everything once. Any command that prints -1 takes the machine down. If one metric fails, the load is
    /// unknown.
    pub(super) async fn measure(&mut self) -> Report {
        let now = ticks();
        let cpu = busy(&self.before, &now);
        self.before = now;
        let mut sum = 0.0;
        let mut unknown = None;
        for metric in &self.metrics {
            let measured = match metric.kind {
                Source::Cpu => cpu.clone(),
                Source::Memory => memory(),
                Source::Command => match run_metric(&metric.command, self.patience).await {
                    Ok(Some(load)) => Ok(load),
                    Ok(None) => return Report::Down,
                    Err(why) => Err(format!("{}: {why}", metric.command.join(" "))),
                },
            };
            match measured {
                Ok(load) => sum += load * f64::from(metric.proportion) / 100.0,
                Err(why) => unknown = Some(why),
            }
        }
        unknown.map_or(Report::Load(sum.clamp(0.0, 100.0)), Report::Unknown)
    }
}

/// The number that a command prints; `None` for -1.
async fn run_metric(command: &[String], patience: Duration) -> Result<Option<f64>, String> {
    let printed = command::run(command, &[], patience).await.map_err(|fault| fault.to_string())?;
    let load = command::number(&printed)?;
    match load {
        load if load < 0.0 => Ok(None),
        load if load <= 100.0 => Ok(Some(load)),
        load => Err(format!("the command prints {load}, expected 0 to 100, or -1 for down")),
    }
}

fn busy(before: &Result<Ticks, String>, now: &Result<Ticks, String>) -> Result<f64, String> {
    let (before, now) = (before.clone()?, now.clone()?);
    let all = now.all.saturating_sub(before.all);
    if all == 0 {
        return Err("cpu: no time has passed".to_owned());
    }
    let busy = now.busy.saturating_sub(before.busy).min(all);
    Ok(busy as f64 * 100.0 / all as f64)
}

fn ticks() -> Result<Ticks, String> {
    ticks_of(&read("/proc/stat")?).ok_or_else(|| "/proc/stat: no line of all processors".to_owned())
}

/// Reads `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are also part of user and nice.
fn ticks_of(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Option<Vec<u64>> =
        line.split_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields?;
    let all = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Ticks { busy: all - idle, all })
}

fn memory() -> Result<f64, String> {
    memory_of(&read("/proc/meminfo")?)
        .ok_or_else(|| "/proc/meminfo: no MemTotal or MemAvailable".to_owned())
}

fn memory_of(meminfo: &str) -> Option<f64> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u32>().ok().map(f64::from)
    };
    let (all, available) = (field("MemTotal")?, field("MemAvailable")?);
    (all > 0.0).then(|| 100.0 * (1.0 - available / all).clamp(0.0, 1.0))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_busy_when_they_are_not_idle() {
        let before = ticks_of("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 1 1 1\n");
        assert_eq!(before, Some(Ticks { busy: 20, all: 100 }));
        let now = Ok(Ticks { busy: 50, all: 200 });
        assert_eq!(busy(&before.ok_or(String::new()), &now), Ok(30.0));
        busy(&now, &now).unwrap_err();
        assert_eq!(ticks_of("intr 1 2 3"), None);
        assert_eq!(ticks_of("cpu  10 0 10"), None);
    }

    #[test]
    fn memory_is_used_unless_it_is_available() {
        let text = "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:   750 kB\n";
        assert_eq!(memory_of(text), Some(25.0));
        assert_eq!(memory_of("MemTotal: 1000 kB\n"), None);
        assert!((0.0..=100.0).contains(&memory().unwrap()));
    }

    fn says(text: &str, proportion: u32) -> Metric {
        let command = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
        Metric { kind: Source::Command, proportion, command }
    }

    async fn measured(metrics: Vec<Metric>) -> Report {
        Meter::new(metrics, Duration::from_secs(1)).measure().await
    }

    #[tokio::test]
    async fn a_load_is_made_of_its_parts() {
        assert_eq!(
            measured(vec![says("echo 80", 25), says("echo 20", 75)]).await,
            Report::Load(35.0)
        );
        assert_eq!(measured(vec![says("echo 80", 50), says("echo -1", 50)]).await, Report::Down);
        for (broken, want) in [
            ("echo 101", "the command prints 101, expected 0 to 100, or -1 for down"),
            ("exit 2", "exit status: 2"),
            ("true", "the command prints \"\", expected a number, or -1 for down"),
        ] {
            let report = measured(vec![says(broken, 50), says("echo 1", 50)]).await;
            assert_eq!(report, Report::Unknown(format!("/bin/sh -c {broken}: {want}")));
            let down = measured(vec![says(broken, 50), says("echo -1", 50)]).await;
            assert_eq!(down, Report::Down, "known, whatever else is not");
        }
    }
}
