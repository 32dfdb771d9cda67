//! Where things lie: the sources, the target directory, the tools that set-up leaves in it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target directory: this program lies in TARGET/PROFILE.
///
/// # Errors
/// When the program's own path cannot be told.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell the path of this program")?;
    let target = program.ancestors().nth(2).context("this program lies in no target directory")?;
    Ok(target.to_owned())
}

/// Where set-up leaves `bin/bpf-linker` and `bpf-toolchain`, which dispatcher-ctl's build script reads.
///
/// # Errors
/// As [`target`].
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// The first directory of the search path (with the system directories that only root's has) that holds `program`.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = search_path();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// PATH with the system directories that a user's often lacks.
pub(crate) fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
