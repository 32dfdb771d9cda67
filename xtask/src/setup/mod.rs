//! `cargo xtask setup`: what is missing is installed, or named with the command that gets it.
//!
//! Finding out what is missing costs only look-ups of files and four short commands, so every task begins with it.

mod apt;
mod bpffs;
mod linker;
mod packages;
mod schemathesis;
mod toolchain;

use anyhow::{Result, bail};

pub(crate) use apt::{is_root, refresh_package_lists};

/// What a task needs; each includes the one before, [`Need::Check`], [`Need::Vm`], [`Need::Ipvs`] and [`Need::Bench`] only [`Need::Build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A toolchain for BPF and its linker.
    Build,
    /// What demo and tests run: servers, clients, network tools, bpffs.
    Run,
    /// What only tests run: servers of more protocols.
    Test,
    /// What boots another kernel.
    Vm,
    /// What boots another kernel and runs IPVS in it.
    Ipvs,
    /// What builds the measuring harness.
    Bench,
    /// What the checks run.
    Check,
}

/// The task: all that build, demo and test need, or only what `--for TASK` names.
///
/// # Errors
/// When something is missing and cannot be installed.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let need = match words {
        [] | ["--for", "test"] => Need::Test,
        ["--for", "demo"] => Need::Run,
        ["--for", "build"] => Need::Build,
        ["--for", "vm"] => Need::Vm,
        ["--for", "bench"] => Need::Bench,
        ["--for", "check"] => Need::Check,
        _ => bail!("setup: {}: expected --for build|test|demo|check|vm|bench", words.join(" ")),
    };
    ensure(need)
}

/// Sees to it that all is there that a build needs but the linker; yields whether that is missing.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn lacks_linker_only(need: Need) -> Result<bool> {
    apt::install_missing(&packages::of(need))?;
    toolchain::choose(false)?;
    linker::is_missing()
}

/// Sees to it that what is needed is there; what it installs, it announces.
///
/// # Errors
/// When something is missing and cannot be installed; the message names it and the command that gets it.
pub(crate) fn ensure(need: Need) -> Result<()> {
    apt::install_missing(&packages::of(need))?;
    let toolchain = toolchain::choose(need == Need::Check)?;
    linker::ensure()?;
    if matches!(need, Need::Run | Need::Test) {
        bpffs::ensure()?;
    }
    if need == Need::Test {
        schemathesis::ensure()?;
    }
    eprintln!("setup: everything is in place (BPF: {toolchain})");
    Ok(())
}
