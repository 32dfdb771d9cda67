//! `cargo xtask test`: every test, as root, with BPF; nothing is skipped in silence.
//!
//! All of it uses one profile (dev), so that nothing is compiled twice; the datapath is optimised in either.

mod summary;

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use crate::{setup, shell::Cmd, workspace};
use summary::Summary;

/// Runs the task.
///
/// # Errors
/// When not root, without BPF, when a test fails, when none ran, or when a test program does not build.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    match words {
        [] => here(),
        _ => bail!("test: {}: expected nothing", words.join(" ")),
    }
}

fn here() -> Result<()> {
    require_privileges()?;
    setup::ensure(setup::Need::Run)?;
    require_bpf()?;
    let mut summary = Summary::default();
    // The binary that the end-to-end tests start.
    Cmd::new("cargo").args(["build", "--package", "dispatcher-ctl", "--bins"]).run()?;
    // Unit and model tests, side by side.
    let mut ended =
        vec![cargo_test(&["--workspace", "--exclude", "dispatcher-tests"], &mut summary)?];
    // Packet, network-namespace and end-to-end tests.
    ended.push(cargo_test(&["--package", "dispatcher-tests"], &mut summary)?);
    println!("{summary}");
    if summary.passed == 0 {
        bail!("no test ran");
    }
    if summary.failed > 0 || ended.contains(&false) {
        bail!("cargo test: {}", summary.failures());
    }
    Ok(())
}

/// Runs cargo test, shows what it says and adds it up. Yields whether cargo test was content.
fn cargo_test(args: &[&str], summary: &mut Summary) -> Result<bool> {
    let mut child = Cmd::new("cargo")
        .args(["test", "--no-fail-fast"])
        .args(args)
        .env("DISPATCHER_REQUIRE_BPF", "1")
        .env("DISPATCHER_BIN", workspace::target()?.join("debug/dispatcher"))
        .announced()
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo's output is piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    Ok(child.wait().context("cannot wait for cargo")?.success())
}

fn require_privileges() -> Result<()> {
    if !setup::is_root()? {
        bail!(
            "the tests need root: they load BPF programs and make network namespaces\nhint: sudo -E cargo xtask test"
        );
    }
    Ok(())
}

/// Asks the kernel for its BPF programs: refused without CAP_BPF or without the system call.
fn require_bpf() -> Result<()> {
    Cmd::new("bpftool").args(["prog", "list"]).read().context("no BPF here")?;
    Ok(())
}
