//! `cargo xtask test`: every test, as root, with BPF; nothing is skipped in silence.
//!
//! All of it uses one profile (dev), so that nothing is compiled twice; the datapath is optimised in either.

mod summary;
pub(crate) mod vm;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{setup, shell::Cmd, workspace};
use summary::Summary;

/// Runs the task: here, or the packet tests under another kernel (`--kernel 6.1`).
///
/// # Errors
/// When not root, without BPF, when a test fails, when none ran, or when a test program does not build.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    match words {
        [] => here(),
        ["--kernel", version, filters @ ..] => vm::run(version, filters),
        _ => bail!("test: {}: expected nothing, or --kernel VERSION", words.join(" ")),
    }
}

fn here() -> Result<()> {
    require_privileges()?;
    setup::ensure(setup::Need::Test)?;
    require_bpf()?;
    let mut summary = Summary::default();
    let mut all_well = stream(cargo_test(&["--no-fail-fast"])?, &mut summary)?;
    // Last: it replaces the binary by one with a datapath that logs.
    let log = ["--features", "dispatcher-ctl/datapath-log", "--test", "datapath_log"];
    all_well &= stream(cargo_test(&log)?, &mut summary)?;
    println!("{summary}");
    summary.judge(all_well)
}

/// One selection of packages: another would have other features, and build their dependencies anew. The binary that the
/// end-to-end tests start is built with dispatcher-ctl's own tests.
fn cargo_test(arguments: &[&str]) -> Result<Command> {
    let mut command = Cmd::new("cargo")
        .args(["test", "--workspace"])
        .args(arguments.iter().copied())
        .env("DISPATCHER_REQUIRE_BPF", "1")
        .env("DISPATCHER_BIN", workspace::target()?.join("debug/dispatcher"))
        .announced();
    command.stdout(Stdio::piped());
    Ok(command)
}

/// Runs test programs, shows what they say and adds it up. Yields whether they ended with status 0.
fn stream(mut command: Command, summary: &mut Summary) -> Result<bool> {
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let output = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    Ok(child.wait().context("cannot wait for the tests")?.success())
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
