//! `cargo xtask bench [OPTIONS | --controller | --harness DIR]`: what a packet costs, or a change.
//!
//! Without more, or with options of its own: the package `dispatcher-bench`, packets of many flows through the loaded
//! datapath, beside floor programs; with `--veth` real frames through two NICs. `--ipvs`:
//! the same in a virtual machine that counts instructions, beside the kernel's own balancer. `--controller`: `dispatcher-ctl/benches/controller.rs`, changes and scrapes of a daemon
//! with 10,000 backends. With a harness (a directory with
//! `xbench.h`, a Makefile for `xbench` and its floor programs): [`PLUGINS`], the datapath and our own floor programs, are
//! compiled against it, and their cases run side by side with its floor programs'.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{setup, shell::Cmd, test::vm, workspace};

/// The harness's cases to compare with.
const CASES: &str = "base_pass,set4_vip_1stat*,new/lru,*dispatcher*,*rust_*";
/// What is compiled against a harness.
const PLUGINS: [&str; 2] =
    ["dispatcher-ebpf/bench/dispatcher_plugin.c", "bench/rust_floors_plugin.c"];

/// The kernel whose IPVS is measured, unless another is asked for.
const KERNEL: &str = "6.12";
/// What it loads. The connection table of IPVS has a million lines instead of 4,096, as whoever has many connections sets it.
const MODULES: &str = "veth sch_ingress cls_matchall act_mirred ip_vs ip_vs_wrr";
const PARAMETERS: &str = "ip_vs.conn_tab_bits=20";

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
        ["--ipvs"] => ipvs(KERNEL),
        ["--ipvs", "--kernel", version] => ipvs(version),
        ["--ipvs", ..] => bail!("bench --ipvs: expected nothing more, or --kernel VERSION"),
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

/// On an emulated CPU whose clock goes on by one nanosecond an instruction.
fn ipvs(version: &str) -> Result<()> {
    setup::ensure(setup::Need::Ipvs)?;
    Cmd::new("cargo").args(["build", "--quiet", "--package", "dispatcher-bench"]).run()?;
    let (deb, cache) = vm::kernel(version)?;
    Cmd::new(workspace::root().join("tests/vm/vmrun"))
        .args(["--accel", "icount", "--mem", "4096", "--timeout", "1500"])
        .args(["--modules", MODULES, "--append", PARAMETERS, "--kernel"])
        .arg(&deb)
        .arg("--")
        .arg(workspace::target()?.join("debug/dispatcher-bench"))
        .args(["--veth", "--with-ipvs", "--instructions", "--rounds", "3", "--packets", "65536"])
        .env("VMRUN_CACHE", &cache)
        .run()
}

fn harness(directory: &Path, options: &[&str]) -> Result<()> {
    let header = directory.join("xbench.h");
    if !header.exists() {
        bail!("{}: no such file, expected a harness's interface", header.display());
    }
    setup::ensure(setup::Need::Bench)?;
    // Builds the datapath's object and the floors'.
    Cmd::new("cargo").args(["build", "--quiet", "--package", "dispatcher-bench"]).run()?;
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
    let mut objects = vec!["./floor_plugin.so".to_owned()];
    for plugin in PLUGINS.map(Path::new) {
        let name = plugin.with_extension("so");
        let name = name.file_name().context("a plug-in has a name")?.to_string_lossy();
        Cmd::new("gcc")
            .args(["-O2", "-Wall", "-shared", "-fPIC", "-I"])
            .arg(&place)
            .arg("-o")
            .arg(place.join(&*name))
            .arg(workspace::root().join(plugin))
            .run()?;
        objects.push(format!("./{name}"));
    }
    let options = if options.is_empty() { &["-r", "9", "-k", CASES] } else { options };
    let built = target.join("bpf/bpfel-unknown-none/release");
    Cmd::new("./xbench")
        .args(options)
        .args(objects)
        .env("DISPATCHER_OBJECT", built.join("datapath"))
        .env("FLOORS_OBJECT", built.join("bench-floors"))
        .dir(&place)
        .run()
}
