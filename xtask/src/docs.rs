//! `cargo xtask docs [--check]`: writes the reference pages that are made from tables in the code, or compares them.
//!
//! The tests of the crates that own the tables make the pages: those with `reference_page` in their names. The pages are kept
//! in the repository, so that they can be read there.

use anyhow::Result;
use clap::Args;

use crate::{setup, shell::Cmd};

/// Options of the task.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Compare the pages with the code instead of writing them.
    #[arg(long)]
    check: bool,
}

/// Runs the task: writes the pages, or compares them.
///
/// # Errors
/// When a page cannot be written, or under `--check` differs from the code.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(setup::Need::Build)?;
    if options.check { check() } else { pages().env("DISPATCHER_BLESS", "1").run() }
}

/// Compares the pages with the code.
///
/// # Errors
/// When a page differs.
pub(crate) fn check() -> Result<()> {
    pages().env_remove("DISPATCHER_BLESS").run()
}

fn pages() -> Cmd {
    Cmd::new("cargo").args([
        "test",
        "--quiet",
        "--package",
        "dispatcher-common",
        "--package",
        "dispatcher-ctl",
        "reference_page",
    ])
}
