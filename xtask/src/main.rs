//! Set-up, build, demo, test and check of the dispatcher: `cargo xtask TASK`.
//!
//! One module per task; this file only dispatches. Every task starts with the set-up of what it needs.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod demo;
mod docs;
mod setup;
mod shell;
mod test;
mod wording;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

/// Set-up, build, demo, test and check of the dispatcher.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what build, demo and tests need; quick when nothing is missing.
    Setup(setup::Options),
    /// Build the product, target/release/dispatcher.
    Build,
    /// Show the product at work on real traffic (needs root).
    Demo(demo::Options),
    /// Run every test (needs root and BPF).
    Test(test::Options),
    /// Check formatting, lints, documentation and dependencies.
    Check,
    /// Measure what a packet costs, or a change (needs root).
    Bench(bench::Options),
    /// Write the reference pages that are made from the code.
    Docs(docs::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Option<Task>) -> Result<()> {
    match task {
        None => Ok(Arguments::command().print_help()?),
        Some(Task::Setup(options)) => setup::run(&options),
        Some(Task::Build) => build::run(),
        Some(Task::Demo(options)) => demo::run(&options),
        Some(Task::Test(options)) => test::run(&options),
        Some(Task::Check) => check::run(),
        Some(Task::Bench(options)) => bench::run(&options),
        Some(Task::Docs(options)) => docs::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_understood(words: &str) -> bool {
        let words = ["xtask"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).is_ok()
    }

    #[test]
    fn tasks_and_their_options_are_told_apart() {
        Arguments::command().debug_assert();
        for words in [
            "",
            "setup --for demo",
            "demo --keep",
            "test --kernel 6.1 orphan",
            "test --long",
            "docs --check",
            "bench --cases hit/*/1k,new/* --loads 2",
            "bench --ipvs --kernel 6.12",
            "bench --harness DIR -- -r 9",
        ] {
            assert!(is_understood(words), "{words}");
        }
        for words in ["dance", "setup --for fun", "test orphan", "bench --controller --veth"] {
            assert!(!is_understood(words), "{words}");
        }
    }
}
