//! `cargo xtask demo`: builds the product and the demo, and replaces itself by the demo.

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    build::{self, Profile},
    setup,
    shell::Cmd,
    workspace,
};

/// Options of the task.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Leave the network namespaces and servers up at the end, and say what to try in them.
    #[arg(long)]
    keep: bool,
}

/// Runs the task. `DISPATCHER_BIN` names a binary to show instead of a newly built one.
///
/// # Errors
/// When not root, when set-up or build fails, or when the demo cannot be started.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("the demo needs root: it makes network namespaces\nhint: sudo -E cargo xtask demo");
    }
    build::from_cold(setup::Need::Run, Profile::Demo)?;
    Cmd::new("cargo").args(["build", "--package", "dispatcher-demo", "--profile", "demo"]).run()?;
    let place = workspace::target()?.join("demo");
    let shown =
        std::env::var_os("DISPATCHER_BIN").unwrap_or_else(|| place.join("dispatcher").into());
    let demo = Cmd::new(place.join("dispatcher-demo")).env("DISPATCHER_BIN", shown);
    if options.keep { demo.arg("--keep") } else { demo }.become_it()
}
