//! Set-up, build, demo, test and check of the dispatcher: `cargo xtask TASK`.
//!
//! One module per task; this file only dispatches. Every task starts with the set-up of what it needs.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod demo;
mod docs;
mod keys;
mod setup;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

  setup                 install what build, demo and test need; quick when nothing is missing
  build                 build target/release/dispatcher
  demo [--keep]         show the product at work on real traffic (root); --keep leaves the lab up
  test                  run every test (root; needs BPF)
  test --kernel 6.1     run the packet tests under Debian's kernel of that version, in qemu
  check                 formatting, lints, documentation, dependencies
  bench [--cases GLOB] [--loads N] [--rounds N] [--json FILE] [--svg FILE] [--write-docs] [--list]
                        what a packet costs beside floor programs (root); --write-docs puts it into docs/benchmarks.md
  bench --veth [--cases GLOB] [--rounds N] [--packets N] [--json FILE]
                        real frames a second over veth on one CPU, beside a floor program (root)
  bench --ipvs [--kernel 6.12]
                        instructions a frame of the kernel's IPVS and ours, in qemu (root)
  bench --controller    what a change costs
  bench --harness DIR   what a packet costs in a measuring harness in C, beside its floor programs
  docs [--check]        write the reference pages that come from the code, or compare them
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["setup", rest @ ..] => setup::run(rest),
        ["build"] => build::run(),
        ["demo", rest @ ..] => demo::run(rest),
        ["test", rest @ ..] => test::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["check"] => check::run(),
        ["docs", rest @ ..] => docs::run(rest),
        [] | ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such task: {}\n{USAGE}", words.join(" ")),
    }
}
