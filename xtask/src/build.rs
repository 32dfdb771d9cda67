//! `cargo xtask build`: the product, `target/release/dispatcher`, with the BPF object inside.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{setup, shell::Cmd, workspace};

/// How to build the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For release.
    Release,
    /// For the demo: the build takes less time.
    Demo,
}

impl Profile {
    fn cargo(self) -> Cmd {
        let build = Cmd::new("cargo").args(["build", "--package", "dispatcher-ctl"]);
        match self {
            Self::Release => build.arg("--release"),
            Self::Demo => build.args(["--profile", "demo"]),
        }
    }
}

/// Builds the release binary.
///
/// # Errors
/// When set-up or the build fails.
pub(crate) fn run() -> Result<()> {
    from_cold(setup::Need::Build, Profile::Release)?;
    println!("built {}", binary()?.display());
    Ok(())
}

/// Sets up for a task, and builds the product.
///
/// If there is no BPF linker yet, it is built in parallel with the binary's dependencies: cargo reaches the datapath last, and
/// then waits for the linker. Neither build keeps two CPUs busy on its own.
///
/// # Errors
/// When set-up or the build fails.
pub(crate) fn from_cold(need: setup::Need, profile: Profile) -> Result<()> {
    if !setup::lacks_linker_only(need)? {
        setup::ensure(need)?;
        return profile.cargo().run();
    }
    let mut build = profile.cargo().env("DISPATCHER_AWAIT_LINKER", "1").announced().spawn()?;
    if let Err(error) = setup::ensure(need) {
        // Its build script notices that this process is gone. The build may also have ended by itself.
        let _ = build.kill();
        build.wait()?;
        return Err(error);
    }
    let status = build.wait()?;
    ensure!(status.success(), "the build failed: {status}");
    Ok(())
}

fn binary() -> Result<PathBuf> {
    Ok(workspace::target()?.join("release/dispatcher"))
}
