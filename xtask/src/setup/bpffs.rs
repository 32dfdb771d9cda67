//! Mounts the BPF file system, in which the datapath pins what outlives the controller.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::shell::Cmd;

const DIR: &str = "/sys/fs/bpf";

/// Mounts bpffs unless it is already mounted.
///
/// # Errors
/// When it is not mounted and this process may not mount it.
pub(super) fn ensure() -> Result<()> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq([DIR, "bpf"])) {
        return Ok(());
    }
    if !apt::is_root()? {
        bail!("{DIR} is not mounted\nhint: sudo mount -t bpf bpf {DIR}");
    }
    Cmd::new("mount").args(["-t", "bpf", "bpf", DIR]).run()
}
