//! Builds bpf-linker in the target directory, against the LLVM version of the bitcode.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{shell::Cmd, workspace};

/// LLVM version of the bitcode and of the linker; also selects bpf-linker's feature `llvm-22`.
pub(super) const LLVM_MAJOR: u32 = 22;
const VERSION: &str = "0.13.0";

/// Whether there is no linker yet, not even an old one.
///
/// # Errors
/// When the target directory cannot be found out.
pub(super) fn is_missing() -> Result<bool> {
    Ok(!workspace::tools()?.join("bin/bpf-linker").exists())
}

/// Builds bpf-linker unless it is installed and runs.
///
/// # Errors
/// When LLVM is missing and cannot be installed, or the build fails.
pub(super) fn ensure() -> Result<()> {
    let tools = workspace::tools()?;
    let works =
        |path: PathBuf| Cmd::new(path).arg("--version").read().is_ok_and(|v| v.contains(VERSION));
    if works(tools.join("bin/bpf-linker")) {
        return Ok(());
    }
    let prefix = llvm_prefix()?;
    eprintln!("setup: building bpf-linker {VERSION} with {}", prefix.display());
    // Without optimisation it is built in 52 s instead of 92. Linking our object is mostly LLVM's work, and takes only 4 s
    // more.
    Cmd::new("cargo")
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--quiet"])
        .arg("--debug")
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM_MAJOR}"), "--root"])
        .arg(&tools)
        .env("LLVM_PREFIX", &prefix)
        .env_remove("CARGO_TARGET_DIR")
        .run()
}

/// LLVM's directory: `LLVM_PREFIX`, or the one of Debian's package, which is installed if it is missing.
fn llvm_prefix() -> Result<PathBuf> {
    if let Some(prefix) = std::env::var_os("LLVM_PREFIX") {
        let prefix = PathBuf::from(prefix);
        let config = prefix.join("bin/llvm-config");
        let version = Cmd::new(&config).arg("--version").read()?;
        if !version.starts_with(&format!("{LLVM_MAJOR}.")) {
            bail!(
                "LLVM_PREFIX {}: LLVM {}, expected {LLVM_MAJOR}",
                prefix.display(),
                version.trim()
            );
        }
        return Ok(prefix);
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{LLVM_MAJOR}"));
    if !Path::new(&prefix.join("lib/libLLVM.so")).exists() {
        apt::install(&[&format!("llvm-{LLVM_MAJOR}-dev")]).with_context(|| {
            format!(
                "no LLVM {LLVM_MAJOR} in {} (LLVM_PREFIX may name another place)",
                prefix.display()
            )
        })?;
    }
    Ok(prefix)
}
