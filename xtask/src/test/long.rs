//! `cargo xtask test --long`: runs what takes too long for every change.

use anyhow::Result;

use super::{cargo_test, stream, summary::Summary, vm};
use crate::{
    build::{self, Profile},
    setup, workspace,
};

/// Kernels of Debian 12 and 13.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// Runs the long suites. Returns whether all test programs ended with status 0.
///
/// # Errors
/// When something does not build or start.
pub(super) fn run(summary: &mut Summary) -> Result<bool> {
    let packets = cargo_test(&["--test", "packet", "model"])?;
    let mut all_well = stream(packets.env("DISPATCHER_PACKETS", "1000000").announced(), summary)?;
    let steps = cargo_test(&["--test", "e2e", "each_system"])?;
    all_well &= stream(steps.env("DISPATCHER_EVERY_STEP", "1").announced(), summary)?;
    all_well &= measurements(summary)?;
    setup::ensure(setup::Need::Vm)?;
    for version in KERNELS {
        match vm::kernel(version) {
            Ok(kernel) => all_well &= vm::run(&kernel, &[], summary)?,
            Err(error) => eprintln!("test: not run under kernel {version}: {error:#}"),
        }
    }
    Ok(all_well)
}

/// Runs the measurements among the end-to-end tests, which are otherwise ignored: with a release build, one at a time.
fn measurements(summary: &mut Summary) -> Result<bool> {
    build::from_cold(setup::Need::Test, Profile::Release)?;
    let mut command = cargo_test(&["--test", "e2e", "--", "--ignored", "--test-threads", "1"])?
        .args(["--nocapture"])
        .env("DISPATCHER_BIN", workspace::target()?.join("release/dispatcher"));
    if std::env::var_os("DISPATCHER_BEFORE").is_none() {
        command = command.args(["--skip", "layout"]);
    }
    stream(command.announced(), summary)
}
