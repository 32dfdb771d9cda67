//! `cargo xtask build`: the product, `target/release/dispatcher`, with the BPF object inside.

use anyhow::Result;

use crate::{setup, shell::Cmd, workspace};

/// Builds the release binary.
///
/// # Errors
/// When set-up or the build fails.
pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Need::Build)?;
    let binary = release()?;
    println!("built {}", binary.display());
    Ok(())
}

/// Builds the release binary, set-up being done, and says where it is.
///
/// # Errors
/// When the build fails.
pub(crate) fn release() -> Result<std::path::PathBuf> {
    Cmd::new("cargo").args(["build", "--release", "--package", "dispatcher-ctl"]).run()?;
    Ok(workspace::target()?.join("release/dispatcher"))
}
