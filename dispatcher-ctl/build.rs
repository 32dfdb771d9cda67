//! Builds the BPF objects, so that the binary carries them. Tells utoipa how the API spells types that are not its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use object::{build::elf, elf::SHT_STRTAB};

#[path = "build/bpf.rs"]
mod bpf;

fn main() -> Result<()> {
    name_api_types();
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("the crate lies in a workspace")?;
    let builder = bpf::Builder::new(workspace)?;
    for watched in ["dispatcher-ebpf", "dispatcher-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    if env::var_os("CARGO_FEATURE_DATAPATH_LOG").is_some() {
        build(&builder, &["log"], &[("datapath", "dispatcher-log.bpf.o")])?;
    }
    // Last: both are linked under one name, by which benchmarks find the one that does not log.
    build(&builder, &[], &[("datapath", "dispatcher.bpf.o"), ("jiffies", "jiffies.bpf.o")])
}

/// Names the schemas of types for which `derive(ToSchema)` has none: aliases, types of the standard library, and types that are
/// text in JSON.
fn name_api_types() {
    let mut config = utoipa_config::Config::new()
        .alias_for("IpAddr", "crate::values::schema::IpAddress")
        .alias_for("Timestamp", "f64");
    for text in ["Label", "ClientRange", "PortRange", "TimeRange", "Tos"] {
        config = config.alias_for(text, "String");
    }
    config.write_to_file();
}

/// Builds the objects with these features, and copies some to names in the build script's directory.
fn build(builder: &bpf::Builder, features: &[&str], copies: &[(&str, &str)]) -> Result<()> {
    // Inline assembly for BPF is unstable.
    let place = builder.build("dispatcher-ebpf", features, "dispatcher_ebpf,datapath")?;
    for (object, name) in copies {
        let object = place.join(object);
        strip(&object, &builder.out_dir.join(name))
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }
    Ok(())
}

/// Copies an object without its DWARF, of which the linker made the BTF: only that is loaded. It would be most of the object.
fn strip(object: &Path, copy: &Path) -> Result<()> {
    let bytes = fs::read(object)?;
    let mut builder = elf::Builder::read(&*bytes)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // The linker put the names of sections among those of symbols, which the writer does not.
    let names = builder.sections.add();
    (names.name, names.sh_type, names.sh_addralign) = (b".shstrtab"[..].into(), SHT_STRTAB, 1);
    names.data = elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(fs::write(copy, stripped)?)
}
