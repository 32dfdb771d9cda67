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
    let logs = env::var_os("CARGO_FEATURE_DATAPATH_LOG").is_some();
    let object = build(&builder, logs)?;
    fs::copy(&object, builder.out_dir.join("dispatcher.bpf.o"))
        .with_context(|| format!("cannot copy {}", object.display()))?;
    if logs {
        // Both are of one name, by which benchmarks know the one that does not log: it goes back there.
        build(&builder, false)?;
    }
    Ok(())
}

/// Builds the object, which logs or does not, and says where it is.
fn build(builder: &bpf::Builder, logs: bool) -> Result<PathBuf> {
    let features: &[&str] = if logs { &["log"] } else { &[] };
    // Inline assembly for BPF is unstable.
    let place = builder.build("dispatcher-ebpf", features, "dispatcher_ebpf,datapath")?;
    Ok(place.join("datapath"))
}
