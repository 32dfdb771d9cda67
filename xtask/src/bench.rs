//! `cargo xtask bench [OPTIONS | --controller | --harness DIR]`: what a packet costs, or a change.
//!
//! Without more, or with options of its own: the package `dispatcher-bench`, packets of many flows through the loaded
//! datapath, beside floor programs. `--controller`: `dispatcher-ctl/benches/controller.rs`, changes and scrapes of a daemon
//! with 10,000 backends. With a harness (a directory with
//! `xbench.h`, a Makefile for `xbench` and its floor programs): the plug-in `dispatcher-ebpf/bench/dispatcher_plugin.c` is
//! compiled against it, and its cases run side by side with the floor programs'.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, shell::Cmd, workspace};

/// The harness's cases to compare with.
const CASES: &str = "base_pass,set4_vip_1stat*,new/lru*,*dispatcher*";

/// Runs the task. What follows `--harness DIR` goes to xbench; other words are dispatcher-bench's.
///
/// # Errors
/// When not root, when something does not build, or when a case fails.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    if !setup::is_root()? {
        bail!("bench needs root: it loads BPF programs\nhint: sudo -E cargo xtask bench");
    }
    match words {
        ["--controller"] => {
            setup::ensure(setup::Need::Run)?;
            Cmd::new("cargo")
                .args(["bench", "--package", "dispatcher-ctl", "--bench", "controller"])
                .run()
        }
        ["--harness", directory, rest @ ..] => harness(Path::new(directory), rest),
        _ => {
            setup::ensure(setup::Need::Build)?;
            // The profile is of no account: what is measured runs in the kernel.
            Cmd::new("cargo")
                .args(["run", "--quiet", "--package", "dispatcher-bench", "--"])
                .args(words)
                .run()
        }
    }
}

fn harness(directory: &Path, options: &[&str]) -> Result<()> {
    let header = directory.join("xbench.h");
    if !header.exists() {
        bail!("{}: no such file, expected a harness's interface", header.display());
    }
    setup::ensure(setup::Need::Bench)?;
    build::release()?;
    let target = workspace::target()?;
    let place = target.join("bench");
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    // A copy: nothing is built in a directory that is not ours.
    Cmd::new("cp").arg("-rT").arg(directory).arg(place.join("harness")).run()?;
    let place = place.join("harness");
    Cmd::new("make")
        .args(["--silent", "xbench", "drv.bpf.o", "floor_plugin.so", "all"])
        .dir(&place)
        .run()?;
    Cmd::new("gcc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-I"])
        .arg(&place)
        .arg("-o")
        .arg(place.join("dispatcher_plugin.so"))
        .arg(workspace::root().join("dispatcher-ebpf/bench/dispatcher_plugin.c"))
        .run()?;
    let options = if options.is_empty() { &["-r", "9", "-k", CASES] } else { options };
    Cmd::new("./xbench")
        .args(options)
        .args(["./floor_plugin.so", "./dispatcher_plugin.so"])
        .env("DISPATCHER_OBJECT", target.join("bpf/bpfel-unknown-none/release/datapath"))
        .dir(&place)
        .run()
}
