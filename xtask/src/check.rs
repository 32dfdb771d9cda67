//! `cargo xtask check`: all checks of the code that do not run it.

use anyhow::{Context as _, Result};

use crate::{docs, setup, shell::Cmd, wording, workspace};

/// Tools beyond the toolchain: used if installed, otherwise named in a message.
const OPTIONAL: [(&str, &[&str], &str); 2] = [
    ("cargo-deny", &["check", "--hide-inclusion-graph"], "cargo install --locked cargo-deny"),
    ("typos", &[], "cargo install --locked typos-cli"),
];

/// Runs the task.
///
/// # Errors
/// At the first check that finds something.
pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Need::Check)?;
    wording::check(workspace::root())?;
    let deny: &[&str] = &["--", "-D", "warnings"];
    Cmd::new("cargo").args(["fmt", "--all", "--check"]).run()?;
    Cmd::new("cargo").args(["clippy", "--workspace", "--all-targets"]).args(deny).run()?;
    datapath()?;
    docs::check()?;
    Cmd::new("cargo")
        // Readers of these pages read the code: links go to private items, too.
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")
        .run()?;
    for (program, args, hint) in OPTIONAL {
        if workspace::find_program(program).is_some() {
            Cmd::new(program).args(args).run()?;
        } else {
            eprintln!("check: {program} is not installed, so it is not run\nhint: {hint}");
        }
    }
    println!("checked");
    Ok(())
}

/// Runs clippy on the datapath and the benchmark's programs as they are built: for the BPF target, with its toolchain.
fn datapath() -> Result<()> {
    let file = workspace::tools()?.join("bpf-toolchain");
    let choice = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut words = choice.split_whitespace();
    let name = words.next().context("set-up records a toolchain")?;
    let build_std: &[&str] = match words.next() {
        Some("build-std") => &["-Z", "build-std=core"],
        _ => &[],
    };
    Cmd::new("rustup")
        .args([
            "run",
            name,
            "cargo",
            "clippy",
            "--profile",
            "bpf",
            "--package",
            "dispatcher-ebpf",
            "--package",
            "dispatcher-lab-ebpf",
            "--bins",
        ])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(workspace::target()?.join("bpf-clippy"))
        .args(build_std)
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Ctarget-cpu=v3")
        .env_remove("RUSTUP_TOOLCHAIN")
        .run()
}
