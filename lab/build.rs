//! Builds the BPF objects of laboratories and benchmarks, so that programs carry them.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

#[path = "../dispatcher-ctl/build/bpf.rs"]
mod bpf;

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("the crate lies in a workspace")?;
    let builder = bpf::Builder::new(workspace)?;
    for watched in ["lab/programs", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    let place = builder.build("dispatcher-lab-ebpf", &[], "")?;
    for name in ["lab-traffic", "bench-driver", "bench-floors", "bench-live"] {
        let object = place.join(name);
        fs::copy(&object, builder.out_dir.join(format!("{name}.bpf.o")))
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }
    Ok(())
}
