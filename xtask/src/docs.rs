//! `cargo xtask docs [--check]`: writes the reference pages that are made from tables in the code, or compares them.
//!
//! The tests of the crates that own the tables make the pages: those with `reference_page` in their names. The pages are kept
//! in the repository, so that they can be read there.

use anyhow::{Result, bail};

use crate::{keys, setup, shell::Cmd};

/// Runs the task: writes the pages, or with `--check` compares them.
///
/// # Errors
/// When a page cannot be written, or under `--check` differs from the code.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    setup::ensure(setup::Need::Build)?;
    match words {
        [] => pages().env("DISPATCHER_BLESS", "1").run(),
        ["--check"] => check(),
        _ => bail!("docs: {}: expected nothing or --check", words.join(" ")),
    }
}

/// Compares the pages with the code.
///
/// # Errors
/// When a page differs.
pub(crate) fn check() -> Result<()> {
    pages().env_remove("DISPATCHER_BLESS").run()?;
    keys::check()
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
