//! Finds directories: the sources, the target directory, and the tools that set-up installs there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target directory, found from this program's path TARGET/PROFILE.
///
/// # Errors
/// When the program's own path cannot be found out.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find out the path of this program")?;
    let target = program.ancestors().nth(2).context("this program is not in a target directory")?;
    Ok(target.to_owned())
}

/// The directory in which set-up puts `bin/bpf-linker` and `bpf-toolchain`; dispatcher-ctl's build script reads them.
///
/// # Errors
/// As [`target`].
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// The first directory of [`search_path`] that contains `program`.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = search_path();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// PATH, and the system directories that a user's PATH often lacks.
pub(crate) fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
