//! A long download through the VIP, while other things happen.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_lab::{self as lab, Lab, Process};

/// Bytes of the file: at [`RATE`] its transfer takes some seconds.
const SIZE: u64 = 40 << 20;
/// Bytes per second that the client takes.
const RATE: &str = "8M";

/// Puts one file of random bytes on every server and returns its checksum.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn prepare(lab: &Lab) -> Result<String> {
    let file = lab.directory().join("blob");
    let mut bytes = Vec::new();
    fs::File::open("/dev/urandom")?.take(SIZE).read_to_end(&mut bytes)?;
    fs::write(&file, &bytes).with_context(|| file.display().to_string())?;
    for server in &lab.backends {
        fs::hard_link(&file, server.directory().join("files/blob"))?;
    }
    checksum(&file)
}

/// A download in flight.
#[derive(Debug)]
pub(crate) struct Transfer {
    process: Process,
    file: PathBuf,
    /// The server it comes from.
    pub(crate) backend: String,
}

impl Transfer {
    /// Starts a download and waits until its first bytes say which server sends it.
    ///
    /// # Errors
    /// When no answer comes.
    pub(crate) fn start(lab: &Lab, name: &str) -> Result<Self> {
        let client = lab.client();
        let headers = client.directory().join(format!("{name}.headers"));
        let mut command = client.download(&lab::url(lab::VIP4.into(), "/files/blob"), name);
        command.args(["--limit-rate", RATE, "-D"]).arg(&headers);
        let mut process = client.spawn_command(name, command)?;
        let backend = lab::until(Duration::from_secs(5), "answer to the download", || {
            if !process.runs()? {
                bail!("the download ended: {}", process.log());
            }
            let text = fs::read_to_string(&headers).unwrap_or_default();
            Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("X-Backend: "))
                .map(|n| n.trim().to_owned()))
        })?;
        Ok(Self { process, file: client.directory().join(name), backend })
    }

    /// Checks that the download is still in progress, so that the acts happened during it; returns the bytes so far.
    ///
    /// # Errors
    /// When it has already ended.
    pub(crate) fn ensure_in_flight(&mut self) -> Result<u64> {
        ensure!(self.process.runs()?, "the transfer ended too early: {}", self.process.log());
        Ok(fs::metadata(&self.file)?.len())
    }

    /// Waits for its end, compares what arrived and returns its size.
    ///
    /// # Errors
    /// When it fails, or when a byte differs.
    pub(crate) fn finish(mut self, want: &str) -> Result<u64> {
        let status = self.process.wait(Duration::from_secs(30))?;
        ensure!(status == Some(0), "the transfer failed: {}", self.process.log());
        let got = checksum(&self.file)?;
        ensure!(got == want, "the transfer arrived with checksum {got}, expected {want}");
        fs::remove_file(&self.file)?;
        Ok(SIZE)
    }
}

/// The checksum that sha256sum prints.
fn checksum(file: &Path) -> Result<String> {
    let said = lab::run(&format!("sha256sum {}", file.display()))?;
    said.split(' ').next().map(str::to_owned).context("sha256sum says nothing")
}

/// Bytes as megabytes, for people.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
