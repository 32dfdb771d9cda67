//! Installs schemathesis, which tests the HTTP API by its description. It gets its own Python environment in the target
//! directory.

use std::fs;

use anyhow::{Context as _, Result};

use super::apt;
use crate::{shell::Cmd, workspace};

/// Installs it, unless it was already installed from the same requirements.
///
/// # Errors
/// When Python cannot be installed, or a package cannot be fetched.
pub(super) fn ensure() -> Result<()> {
    let place = workspace::tools()?.join("schemathesis");
    let wanted = workspace::root().join("tests/schemathesis/requirements.txt");
    let made_from = place.join("requirements.txt");
    let requirements = fs::read(&wanted).with_context(|| wanted.display().to_string())?;
    if fs::read(&made_from).is_ok_and(|made| made == requirements) {
        return Ok(());
    }
    // Debian has the part of venv that installs pip in a separate package.
    if Cmd::new("python3").args(["-c", "import ensurepip"]).read().is_err() {
        apt::install(&["python3-venv"])?;
    }
    eprintln!("setup: installing schemathesis into {}", place.display());
    Cmd::new("python3").args(["-m", "venv", "--clear"]).arg(&place).run()?;
    Cmd::new(place.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&wanted)
        .run()?;
    fs::write(&made_from, requirements).with_context(|| made_from.display().to_string())
}
