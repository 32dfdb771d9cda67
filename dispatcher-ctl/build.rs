//! Builds the BPF object, so that the binary carries it.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

#[path = "build/bpf.rs"]
mod bpf;

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("the crate lies in a workspace")?;
    let builder = bpf::Builder::new(workspace)?;
    for watched in ["dispatcher-ebpf", "dispatcher-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    if env::var_os("CARGO_FEATURE_DATAPATH_LOG").is_some() {
        build(&builder, &["log"], "dispatcher-log.bpf.o")?;
    }
    // Last: both are linked under one name, by which benchmarks find the one that does not log.
    build(&builder, &[], "dispatcher.bpf.o")?;
    Ok(())
}

/// Builds the object with these features, under a name in the build script's directory.
fn build(builder: &bpf::Builder, features: &[&str], name: &str) -> Result<()> {
    // Inline assembly for BPF is unstable.
    let place = builder.build("dispatcher-ebpf", features, "dispatcher_ebpf,datapath")?;
    let object = place.join("datapath");
    fs::copy(&object, builder.out_dir.join(name))
        .with_context(|| format!("cannot copy {}", object.display()))?;
    Ok(())
}
