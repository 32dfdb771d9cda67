//! `cargo xtask bench`: measures what a packet costs, or a change.
//!
//! By default the package `dispatcher-bench` runs: packets of many flows through the loaded datapath, compared with floor
//! programs; with `--veth`, real frames through two NICs. `--ipvs` does the latter in a virtual machine that counts
//! instructions, compared with the kernel's own balancer. `--controller` runs `dispatcher-ctl/benches/controller.rs`: changes and
//! scrapes of a daemon with 10,000 backends. `--harness` compiles [`PLUGINS`] against a C harness (a directory with
//! `xbench.h`, a Makefile for `xbench` and its floor programs) and runs their cases with those of its floor programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{setup, shell::Cmd, test::vm, workspace};

#[path = "../../bench/src/options.rs"]
#[allow(dead_code, unreachable_pub, reason = "the benchmark's: here only for help and errors")]
mod packets;

/// The harness's cases to compare with.
const CASES: &str = "base_pass,set4_vip_1stat*,new/lru,*dispatcher*,*rust_*";
/// The plug-ins that are compiled against a harness.
const PLUGINS: [&str; 2] =
    ["dispatcher-ebpf/bench/dispatcher_plugin.c", "bench/rust_floors_plugin.c"];

/// Modules that the kernel loads for `--ipvs`. The connection table of IPVS gets a million lines instead of 4,096, a usual
/// setting on hosts with many connections.
const MODULES: &str = "veth sch_ingress cls_matchall act_mirred ip_vs ip_vs_wrr";
const PARAMETERS: &str = "ip_vs.conn_tab_bits=20";

/// Options of the task.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Options {
    #[command(flatten)]
    _packets: packets::Options,
    /// Measure what a change or a scrape costs the controller.
    #[arg(long, exclusive = true)]
    controller: bool,
    /// Measure instructions per frame of the kernel's IPVS and of the datapath, in qemu.
    #[arg(long, conflicts_with = "measurement")]
    ipvs: bool,
    /// The kernel whose IPVS is measured.
    #[arg(long, requires = "ipvs", value_name = "VERSION", default_value = "6.12")]
    kernel: String,
    /// Measure what a packet costs in the C harness in this directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["measurement", "ipvs"])]
    harness: Option<PathBuf>,
    /// With --harness: options of xbench.
    #[arg(last = true, value_name = "XBENCH_OPTION", requires = "harness")]
    xbench: Vec<String>,
}

/// Runs the task.
///
/// # Errors
/// When not root, when something does not build, or when a case fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("bench needs root: it loads BPF programs\nhint: sudo -E cargo xtask bench");
    }
    if options.controller {
        setup::ensure(setup::Need::Run)?;
        let bench = ["bench", "--package", "dispatcher-ctl", "--bench", "controller"];
        return Cmd::new("cargo").args(bench).run();
    }
    if options.ipvs {
        return ipvs(&options.kernel);
    }
    if let Some(directory) = &options.harness {
        return harness(directory, &options.xbench);
    }
    setup::ensure(setup::Need::Build)?;
    // The profile does not matter: the measured code runs in the kernel.
    Cmd::new("cargo")
        .args(["run", "--quiet", "--package", "dispatcher-bench", "--"])
        // Passes on everything after `cargo xtask bench`: these are the benchmark's options.
        .args(std::env::args_os().skip(2))
        .run()
}

/// Measures on an emulated CPU whose clock advances by one nanosecond per instruction.
fn ipvs(version: &str) -> Result<()> {
    setup::ensure(setup::Need::Ipvs)?;
    Cmd::new("cargo").args(["build", "--quiet", "--package", "dispatcher-bench"]).run()?;
    let kernel = vm::kernel(version)?;
    Cmd::new(workspace::root().join("tests/vm/vmrun"))
        .args(["--accel", "icount", "--mem", "4096", "--timeout", "1500"])
        .args(["--modules", MODULES, "--append", PARAMETERS, "--kernel"])
        .arg(&kernel.deb)
        .arg("--")
        .arg(workspace::target()?.join("debug/dispatcher-bench"))
        .args(["--veth", "--with-ipvs", "--instructions", "--rounds", "3", "--packets", "65536"])
        .env("VMRUN_CACHE", &kernel.cache)
        .run()
}

fn harness(directory: &Path, options: &[String]) -> Result<()> {
    let header = directory.join("xbench.h");
    if !header.exists() {
        bail!("{}: no such file, expected a harness's interface", header.display());
    }
    setup::ensure(setup::Need::Bench)?;
    // Build the datapath's object and the floors' object.
    Cmd::new("cargo").args(["build", "--quiet", "--package", "dispatcher-bench"]).run()?;
    let target = workspace::target()?;
    let place = target.join("bench");
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    // Work on a copy, so that nothing is built in the user's directory.
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
    let built = target.join("bpf/bpfel-unknown-none/bpf");
    let xbench = Cmd::new("./xbench");
    let xbench = match options {
        [] => xbench.args(["-r", "9", "-k", CASES]),
        _ => xbench.args(options),
    };
    xbench
        .args(objects)
        .env("DISPATCHER_OBJECT", built.join("datapath"))
        .env("FLOORS_OBJECT", built.join("bench-floors"))
        .dir(&place)
        .run()
}
