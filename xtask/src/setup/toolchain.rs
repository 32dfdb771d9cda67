//! Chooses the Rust toolchain that builds for `bpfel-unknown-none`.
//!
//! In this order: `DISPATCHER_BPF_TOOLCHAIN` ("NAME", or "NAME build-std"); a rustup nightly with rust-src, for which cargo
//! builds `core`; Debian's rustc-web, which contains a prebuilt `core` and is linked to rustup as `dispatcher-bpf`. A
//! toolchain must have the LLVM version that bpf-linker is built with, because the linker cannot read other bitcode.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{apt, linker::LLVM_MAJOR};
use crate::{shell::Cmd, workspace};

/// The name under which Debian's toolchain is linked.
const LINKED: &str = "dispatcher-bpf";
/// Its Debian packages.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const TARGET: &str = "bpfel-unknown-none";

/// Chooses the toolchain, records it for dispatcher-ctl's build script and describes it; with `lints`, also installs its
/// clippy.
///
/// # Errors
/// When there is none and none can be installed.
pub(super) fn choose(lints: bool) -> Result<String> {
    let installed = installed()?;
    let choice = match std::env::var("DISPATCHER_BPF_TOOLCHAIN") {
        Ok(forced) => forced,
        Err(_) => match installed.iter().find(|(name, dir)| is_usable_nightly(name, dir)) {
            Some((name, _)) => format!("{name} build-std"),
            None => debian(&installed)?,
        },
    };
    let name = choice.split(' ').next().unwrap_or_default();
    let version = version(name)?;
    if llvm_major(&version) != Some(LLVM_MAJOR) {
        bail!("toolchain {name} has {version}; bpf-linker is built with LLVM {LLVM_MAJOR}");
    }
    if lints && name == LINKED && !Path::new("/usr/bin/cargo-clippy").exists() {
        apt::install(&["rust-web-clippy"])?;
    }
    record(&choice)?;
    Ok(format!("toolchain {choice}, {version}"))
}

/// Names and directories of rustup's toolchains.
fn installed() -> Result<Vec<(String, String)>> {
    let list = Cmd::new("rustup")
        .args(["toolchain", "list", "--verbose"])
        .read()
        .context("rustup is missing\nhint: https://rustup.rs")?;
    let parse = |line: &str| {
        Some((line.split(' ').next()?.to_owned(), line.split(' ').next_back()?.to_owned()))
    };
    Ok(list.lines().filter_map(parse).collect())
}

fn is_usable_nightly(name: &str, dir: &str) -> bool {
    let source = Path::new(dir).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !name.starts_with("nightly") || !source.exists() {
        return false;
    }
    let version = version(name).unwrap_or_default();
    let usable = llvm_major(&version) == Some(LLVM_MAJOR);
    if !usable {
        eprintln!("setup: passing over toolchain {name}: {version}, expected LLVM {LLVM_MAJOR}");
    }
    usable
}

/// Installs and links Debian's toolchain, unless this was done before.
fn debian(installed: &[(String, String)]) -> Result<String> {
    let core = Path::new("/usr/lib/rustlib").join(TARGET);
    if !core.exists() || !Path::new("/usr/bin/cargo").exists() {
        apt::install(&PACKAGES).with_context(|| {
            format!("no toolchain for {TARGET}: a rustup nightly with rust-src and LLVM {LLVM_MAJOR} would do, too")
        })?;
    }
    if !installed.iter().any(|(name, dir)| name == LINKED && dir == "/usr") {
        Cmd::new("rustup").args(["toolchain", "link", LINKED, "/usr"]).run()?;
    }
    Ok(LINKED.to_owned())
}

/// The toolchain's versions, such as "rustc 1.96.0, LLVM 22.1.8".
fn version(name: &str) -> Result<String> {
    let said = Cmd::new("rustup").args(["run", name, "rustc", "-vV"]).read()?;
    let field = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.map(str::trim)
            .with_context(|| format!("rustc of toolchain {name} does not say its {key}"))
    };
    Ok(format!("rustc {}, LLVM {}", field("release:")?, field("LLVM version:")?))
}

fn llvm_major(version: &str) -> Option<u32> {
    version.split("LLVM ").nth(1)?.split('.').next()?.parse().ok()
}

/// Writes the choice to a file. Leaves an unchanged file alone, because the build script watches it.
fn record(choice: &str) -> Result<()> {
    let tools = workspace::tools()?;
    let file = tools.join("bpf-toolchain");
    let line = format!("{choice}\n");
    if fs::read_to_string(&file).is_ok_and(|old| old == line) {
        return Ok(());
    }
    fs::create_dir_all(&tools).with_context(|| tools.display().to_string())?;
    fs::write(&file, line).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_version_line_is_found() {
        assert_eq!(llvm_major("rustc 1.96.0, LLVM 22.1.8"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
