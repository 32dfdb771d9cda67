//! `cargo xtask setup`: installs what is missing, or names it with the command that installs it.
//!
//! Finding out what is missing only takes look-ups of files and four short commands, so every task starts with it.

mod apt;
mod bpffs;
mod linker;
mod packages;
mod schemathesis;
mod toolchain;

use anyhow::Result;
use clap::{Args, ValueEnum};

pub(crate) use apt::{is_root, refresh_package_lists};

/// Options of the task.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Install only what this task needs.
    #[arg(long = "for", value_enum, value_name = "TASK", default_value = "test")]
    need: Need,
}

/// What a task needs: each variant includes [`Need::Build`], [`Need::Test`] also [`Need::Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Need {
    /// A toolchain for BPF and its linker.
    Build,
    /// What demo and tests run: servers, clients, network tools, bpffs.
    #[value(name = "demo")]
    Run,
    /// What only tests run: servers of more protocols.
    Test,
    /// What the checks run.
    Check,
    /// What boots another kernel.
    Vm,
    /// What boots another kernel and runs IPVS in it.
    #[value(skip)]
    Ipvs,
    /// What builds the C harness.
    Bench,
}

/// Installs everything that build, demo and tests need, or only what the task of `--for TASK` needs.
///
/// # Errors
/// When something is missing and cannot be installed.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure(options.need)
}

/// Installs everything that is missing except the BPF linker; returns whether the linker is missing.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn lacks_linker_only(need: Need) -> Result<bool> {
    apt::install_missing(&packages::of(need))?;
    toolchain::choose(false)?;
    linker::is_missing()
}

/// Installs what is missing, and announces what it installs.
///
/// # Errors
/// When something is missing and cannot be installed; the message names it and the command that installs it.
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
