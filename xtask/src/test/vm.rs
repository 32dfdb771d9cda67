//! `cargo xtask test --kernel VERSION`: runs the packet tests under one of Debian's kernels, booted with qemu.
//!
//! The kernel's package is downloaded, but not installed. `tests/vm/vmrun` boots it on this machine's file system, which the
//! guest can read but not change. 6.1 and 6.12 are the kernels of Debian 12 and 13.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use super::{cargo_test, stream, summary::Summary};
use crate::{setup, shell::Cmd, workspace};

/// Time limit for the guest: its CPU is emulated, and about ten times slower than this machine.
const TIMEOUT_SECONDS: &str = "1500";

/// A kernel's package, and the directory for downloaded and unpacked files.
pub(crate) struct Kernel {
    /// The package's file.
    pub(crate) deb: PathBuf,
    /// The directory.
    pub(crate) cache: PathBuf,
}

/// Runs the packet tests under a kernel. Returns whether all test programs ended with status 0.
///
/// # Errors
/// When the tests do not build or the machine does not start.
pub(super) fn run(kernel: &Kernel, filters: &[String], summary: &mut Summary) -> Result<bool> {
    let mut all_well = true;
    for program in test_programs()? {
        let command = Cmd::new(workspace::root().join("tests/vm/vmrun"))
            .args(["--mem", "4096", "--timeout", TIMEOUT_SECONDS, "--modules", "veth"])
            .arg("--kernel")
            .arg(&kernel.deb)
            .args(["--", "env", "DISPATCHER_REQUIRE_BPF=1"])
            .arg(&program)
            .args(["--test-threads", "2"])
            .args(filters)
            .env("VMRUN_CACHE", &kernel.cache);
        all_well &= stream(command.announced(), summary)?;
    }
    Ok(all_well)
}

/// The newest kernel package of a version such as `6.12`, or the package in a file.
///
/// # Errors
/// When there is no such kernel.
pub(crate) fn kernel(version: &str) -> Result<Kernel> {
    let cache = workspace::target()?.join("vm");
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    if version.ends_with(".deb") {
        let deb = fs::canonicalize(version).with_context(|| version.to_owned())?;
        return Ok(Kernel { deb, cache });
    }
    setup::refresh_package_lists()?;
    Ok(Kernel { deb: download(&package(version)?, &cache)?, cache })
}

/// The newest package of this kernel version that apt knows, except the variants cloud (it lacks 9p), rt, debug and unsigned.
fn package(version: &str) -> Result<String> {
    let prefix = format!("linux-image-{version}.");
    let names = Cmd::new("apt-cache").args(["pkgnames", &prefix]).read()?;
    let stock = |name: &&str| {
        let rest = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("-amd64"));
        rest.is_some_and(|rest| !["cloud", "rt"].iter().any(|flavour| rest.ends_with(flavour)))
    };
    let newest = names.lines().filter(stock).max_by_key(|name| numbers(name));
    newest.map(str::to_owned).with_context(|| {
        format!("kernel {version}: apt knows no {prefix}*-amd64, expected 6.1 or 6.12\nhint: --kernel FILE.deb takes any linux-image package")
    })
}

/// The numbers in a package's name, by which versions are compared.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The package's file; fetched unless it was fetched before.
fn download(package: &str, cache: &Path) -> Result<PathBuf> {
    let find = || -> Option<PathBuf> {
        let files = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path());
        let ours = |name: &str| name.starts_with(&format!("{package}_")) && name.ends_with(".deb");
        files.into_iter().find(|file| file.file_name().is_some_and(|n| ours(&n.to_string_lossy())))
    };
    if find().is_none() {
        let quiet = ["-qq", "-o", "APT::Sandbox::User=root"];
        Cmd::new("apt-get").args(quiet).args(["download", package]).dir(cache).run()?;
    }
    find().with_context(|| format!("apt-get download left no {package} in {}", cache.display()))
}

/// The built test programs that need a kernel but no network namespaces: `packet` and all whose names begin with `packet_`.
fn test_programs() -> Result<Vec<PathBuf>> {
    let output = cargo_test(&["--test", "packet", "--no-run", "--message-format=json"])?
        .announced()
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests do not build: {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<PathBuf> =
        text.lines().filter_map(executable).filter(|p| is_packet(p)).collect();
    if programs.is_empty() {
        bail!("cargo built no packet tests");
    }
    Ok(programs)
}

/// The program that a cargo message names. There is one JSON message per line, and paths here need no escapes.
fn executable(message: &str) -> Option<PathBuf> {
    let path = message.split_once("\"executable\":\"")?.1.split('"').next()?;
    Some(PathBuf::from(path))
}

fn is_packet(program: &Path) -> bool {
    let name =
        program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("packet-") || name.starts_with("packet_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_told_by_its_numbers() {
        assert!(numbers("linux-image-6.1.0-50-amd64") > numbers("linux-image-6.1.0-9-amd64"));
        assert!(
            numbers("linux-image-6.12.117+deb12-amd64")
                > numbers("linux-image-6.12.96+deb12-amd64")
        );
    }

    #[test]
    fn a_message_of_cargo_names_a_program() {
        let line =
            r#"{"reason":"compiler-artifact","executable":"/t/deps/packet-1f","fresh":true}"#;
        let path = executable(line).unwrap();
        assert_eq!(path, Path::new("/t/deps/packet-1f"));
        assert!(is_packet(&path) && !is_packet(Path::new("/t/deps/e2e-1f")));
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
