//! `cargo xtask test`: runs every test, as root, with BPF; skips nothing silently.
//!
//! There is only one build: one profile (dev), one selection of packages, one set of features. The feature `datapath-log` only
//! adds the datapath that logs; the other tests load the object that is shipped.
//!
//! cargo-nextest would have to be compiled on a fresh machine: 12 minutes of CPU time. It could save no more than the minute and a
//! half for which test programs other than `e2e` run: the tests of `e2e` already run side by side.

mod long;
mod summary;
pub(crate) mod vm;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{setup, shell::Cmd, workspace};
use summary::Summary;

/// Options of the task.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run the packet tests under another kernel, in qemu: Debian's 6.1 or 6.12, or a package FILE.deb.
    #[arg(long, value_name = "VERSION", conflicts_with = "long")]
    kernel: Option<String>,
    /// Also run what takes long: a million random packets, every step of a takeover, measurements, other kernels.
    #[arg(long)]
    long: bool,
    /// With --kernel: only tests whose names contain one of these.
    #[arg(value_name = "FILTER", requires = "kernel")]
    filters: Vec<String>,
}

/// Runs the task.
///
/// # Errors
/// When not root, without BPF, when a test fails, when none ran, or when a test program does not build.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut summary = Summary::default();
    let mut all_well = true;
    if let Some(version) = &options.kernel {
        setup::ensure(setup::Need::Vm)?;
        all_well &= vm::run(&vm::kernel(version)?, &options.filters, &mut summary)?;
    } else {
        require_privileges()?;
        setup::ensure(setup::Need::Test)?;
        require_bpf()?;
        all_well &= stream(cargo_test(&["--no-fail-fast"])?.announced(), &mut summary)?;
    }
    if options.long {
        all_well &= long::run(&mut summary)?;
    }
    println!("{summary}");
    summary.judge(all_well)
}

/// The end-to-end tests start the binary that is built together with dispatcher-ctl's own tests.
fn cargo_test(arguments: &[&str]) -> Result<Cmd> {
    Ok(Cmd::new("cargo")
        .args(["test", "--workspace", "--features", "dispatcher-ctl/datapath-log"])
        .args(arguments)
        .env("DISPATCHER_REQUIRE_BPF", "1")
        .env("DISPATCHER_BIN", workspace::target()?.join("debug/dispatcher")))
}

/// Runs test programs, shows their output and adds up the results. Returns whether they ended with status 0.
fn stream(mut command: Command, summary: &mut Summary) -> Result<bool> {
    command.stdout(Stdio::piped());
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

/// Asks the kernel for its BPF programs. It refuses without CAP_BPF or without the system call.
fn require_bpf() -> Result<()> {
    Cmd::new("bpftool").args(["prog", "list"]).read().context("no BPF here")?;
    Ok(())
}
