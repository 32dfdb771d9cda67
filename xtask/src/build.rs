//! `cargo xtask build`: the product, `target/release/dispatcher`, with the BPF object inside.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{setup, shell::Cmd, workspace};

/// Builds it.
const RELEASE: [&str; 4] = ["build", "--release", "--package", "dispatcher-ctl"];

/// Builds the release binary.
///
/// # Errors
/// When set-up or the build fails.
pub(crate) fn run() -> Result<()> {
    let binary = from_cold(setup::Need::Build)?;
    println!("built {}", binary.display());
    Ok(())
}

/// Sets up for a task, builds the release binary, and says where it is.
///
/// Where there is no linker yet, it is built while the binary's dependencies are: cargo comes to the datapath last, and then
/// waits for it. Neither keeps two CPUs busy on its own.
///
/// # Errors
/// When set-up or the build fails.
pub(crate) fn from_cold(need: setup::Need) -> Result<PathBuf> {
    if !setup::lacks_linker_only(need)? {
        setup::ensure(need)?;
        return release();
    }
    let mut build =
        Cmd::new("cargo").args(RELEASE).env("DISPATCHER_AWAIT_LINKER", "1").announced().spawn()?;
    if let Err(error) = setup::ensure(need) {
        // Its build script sees that it is gone. It may have ended by itself.
        let _ = build.kill();
        build.wait()?;
        return Err(error);
    }
    let status = build.wait()?;
    ensure!(status.success(), "cargo {}: {status}", RELEASE.join(" "));
    binary()
}

/// Builds the release binary, set-up being done, and says where it is.
///
/// # Errors
/// When the build fails.
pub(crate) fn release() -> Result<PathBuf> {
    Cmd::new("cargo").args(RELEASE).run()?;
    binary()
}

fn binary() -> Result<PathBuf> {
    Ok(workspace::target()?.join("release/dispatcher"))
}
