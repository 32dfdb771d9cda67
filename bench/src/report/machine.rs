//! Describes the machine of the figures.

use std::{fs, path::Path, process::Command};

/// The machine, its kernel, and the version of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// The number of CPUs.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The commit, with `-dirty` if the sources differ from it.
    pub commit: String,
}

impl Machine {
    /// This machine. What cannot be found out is "unknown".
    #[must_use]
    pub fn this() -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models: Vec<&str> = cpuinfo
            .lines()
            .filter(|line| line.starts_with("model name"))
            .filter_map(|line| Some(line.split_once(": ")?.1))
            .collect();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease");
        Self {
            processor: models.first().map_or_else(unknown, |model| model.trim().to_owned()),
            cpus: models.len(),
            kernel: release.map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            commit: commit().unwrap_or_else(unknown),
        }
    }
}

fn commit() -> Option<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(sources)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
