//! Builds a package for BPF.
//!
//! `cargo xtask setup` leaves `bpf-linker` and the name of a toolchain that can build for BPF in `target/tools`. Cargo's
//! build of a crate that carries BPF objects runs a second cargo for the target `bpfel-unknown-none` with them.

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

/// Where a build script runs, and where its tools are.
pub(crate) struct Builder {
    /// The build script's own directory.
    pub(crate) out_dir: PathBuf,
    workspace: PathBuf,
    target_dir: PathBuf,
    tools: PathBuf,
}

impl Builder {
    /// Finds the tools from what cargo tells the build script.
    ///
    /// # Errors
    /// Cargo tells nothing, or set-up was not done.
    pub(crate) fn new(workspace: &Path) -> Result<Self> {
        let out_dir = PathBuf::from(env::var("OUT_DIR")?);
        // OUT_DIR is TARGET/PROFILE/build/CRATE-HASH/out, or TARGET/TRIPLE/PROFILE/… when a target was named.
        let mut above = out_dir.ancestors().skip(4).take(2);
        let target_dir = above
            .find(|dir| dir.join("tools").is_dir())
            .with_context(|| {
                format!("no tools in the target directory above {}\n{HINT}", out_dir.display())
            })?
            .to_owned();
        let tools = target_dir.join("tools");
        println!("cargo:rerun-if-changed={}", tools.join("bpf-toolchain").display());
        Ok(Self { out_dir, workspace: workspace.to_owned(), target_dir, tools })
    }

    /// Builds a package's objects and says in which directory they are. `unstable` names the package's crates that use
    /// unstable features, separated by commas.
    ///
    /// # Errors
    /// There is no toolchain for BPF, or the build fails.
    pub(crate) fn build(
        &self,
        package: &str,
        features: &[&str],
        unstable: &str,
    ) -> Result<PathBuf> {
        let linker = self.tools.join("bin/bpf-linker");
        if env::var_os("DISPATCHER_AWAIT_LINKER").is_some() {
            await_linker(&linker);
        }
        let toolchain = fs::read_to_string(self.tools.join("bpf-toolchain")).unwrap_or_default();
        // "NAME" for a toolchain with a prebuilt core for BPF, "NAME build-std" for one with rust-src.
        let mut words = toolchain.split_whitespace();
        let (Some(name), true) = (words.next(), linker.exists()) else {
            bail!("no toolchain for BPF in {}\n{HINT}", self.tools.display());
        };
        let bpf_dir = self.target_dir.join("bpf");
        let flags = [
            "-Ctarget-cpu=v3".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", linker.display()),
            format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH")?),
        ];
        let mut cargo = Command::new("rustup");
        cargo
            .args(["run", name, "cargo", "build", "--profile", "bpf", "--package", package])
            .args(["--bins", "--target", "bpfel-unknown-none", "--target-dir"])
            .arg(&bpf_dir)
            .current_dir(&self.workspace)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            // aya-ebpf uses one unstable feature.
            .env("RUSTC_BOOTSTRAP", format!("aya_ebpf,aya_ebpf_bindings,{unstable}"))
            .env_remove("RUSTC")
            .env_remove("RUSTDOC")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN");
        if words.next() == Some("build-std") {
            cargo.env("RUSTC_BOOTSTRAP", "1").args(["-Z", "build-std=core"]);
        }
        for feature in features {
            cargo.args(["--features", feature]);
        }
        let status = cargo.status().context("cannot run rustup")?;
        if !status.success() {
            bail!("building {package} with toolchain {name} failed: {status}\n{HINT}");
        }
        Ok(bpf_dir.join("bpfel-unknown-none/bpf"))
    }
}

/// Waits until set-up, which builds the linker at the same time, has done so, or ends this build.
fn await_linker(linker: &Path) {
    let parent = parent_id();
    while !linker.exists() && parent_id() == parent {
        sleep(Duration::from_millis(100));
    }
}
