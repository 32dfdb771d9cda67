//! Builds the BPF object, so that the binary carries it.
//!
//! `cargo xtask setup` leaves `bpf-linker` and the name of a toolchain that can build for BPF in `target/tools`. Cargo's
//! build of this crate runs a second cargo for the target `bpfel-unknown-none` with them.

use std::{
    env, fs,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

const HINT: &str = "hint: cargo xtask setup";

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("the crate lies in a workspace")?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // OUT_DIR is TARGET/PROFILE/build/CRATE-HASH/out, or TARGET/TRIPLE/PROFILE/… when a target was named.
    let mut above = out_dir.ancestors().skip(4).take(2);
    let target_dir = above.find(|dir| dir.join("tools").is_dir()).with_context(|| {
        format!("no tools in the target directory above {}\n{HINT}", out_dir.display())
    })?;
    let tools = target_dir.join("tools");
    for watched in ["dispatcher-ebpf", "dispatcher-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    println!("cargo:rerun-if-changed={}", tools.join("bpf-toolchain").display());
    let logs = env::var_os("CARGO_FEATURE_DATAPATH_LOG").is_some();
    let object = build(workspace, target_dir, &tools, logs)?;
    fs::copy(&object, out_dir.join("dispatcher.bpf.o"))
        .with_context(|| format!("cannot copy {}", object.display()))?;
    if logs {
        // Both are of one name, by which benchmarks know the one that does not log: it goes back there.
        build(workspace, target_dir, &tools, false)?;
    }
    Ok(())
}

/// Waits until set-up, which builds the linker at the same time, has done so, or ends this build.
fn await_linker(linker: &Path) {
    let parent = parent_id();
    while !linker.exists() && parent_id() == parent {
        sleep(Duration::from_millis(100));
    }
}

/// Builds the object, which logs or does not, and says where it is.
fn build(workspace: &Path, target_dir: &Path, tools: &Path, logs: bool) -> Result<PathBuf> {
    let linker = tools.join("bin/bpf-linker");
    if env::var_os("DISPATCHER_AWAIT_LINKER").is_some() {
        await_linker(&linker);
    }
    let toolchain = fs::read_to_string(tools.join("bpf-toolchain")).unwrap_or_default();
    // "NAME" for a toolchain with a prebuilt core for BPF, "NAME build-std" for one with rust-src.
    let mut words = toolchain.split_whitespace();
    let (Some(name), true) = (words.next(), linker.exists()) else {
        bail!("no toolchain for BPF in {}\n{HINT}", tools.display());
    };
    let bpf_dir = target_dir.join("bpf");
    let flags = [
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
        format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH")?),
    ];
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", name, "cargo", "build", "--release", "--package", "dispatcher-ebpf"])
        // The datapath's dependencies are part of it: optimised like it, unlike the controller's.
        .args(["--config", "profile.release.opt-level=3"])
        .args(["--bins", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&bpf_dir)
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // The one unstable feature of aya-ebpf, and inline assembly for BPF in ours.
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,aya_ebpf_bindings,dispatcher_ebpf,datapath")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    if words.next() == Some("build-std") {
        cargo.env("RUSTC_BOOTSTRAP", "1").args(["-Z", "build-std=core"]);
    }
    if logs {
        cargo.args(["--features", "log"]);
    }
    let status = cargo.status().context("cannot run rustup")?;
    if !status.success() {
        bail!("building dispatcher-ebpf with toolchain {name} failed: {status}\n{HINT}");
    }
    Ok(bpf_dir.join("bpfel-unknown-none/release/datapath"))
}
