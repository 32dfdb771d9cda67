//! Builds the benchmark's own BPF objects, so that the binary carries them.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

#[path = "../dispatcher-ctl/build/bpf.rs"]
mod bpf;

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("the crate lies in a workspace")?;
    let builder = bpf::Builder::new(workspace)?;
    for watched in ["bench/programs", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    let place = builder.build("dispatcher-bench-ebpf", &[], "")?;
    for (object, name) in [
        ("bench-driver", "driver.bpf.o"),
        ("bench-floors", "floors.bpf.o"),
        ("bench-live", "live.bpf.o"),
    ] {
        let object = place.join(object);
        fs::copy(&object, builder.out_dir.join(name))
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }
    Ok(())
}
