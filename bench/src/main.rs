//! Measures what a packet costs, and prints a table. Run it by `cargo xtask bench`.

use std::{collections::BTreeSet, fs, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use dispatcher_bench::{
    bench::{Loaded, Measured, Quiet},
    cases::{self, Case, Scale},
    driver::Driver,
    options::Options,
    report::{Report, document, json, machine::Machine},
    veth::{self, trial},
};
use dispatcher_tests::datapath;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use rand::{SeedableRng as _, rngs::SmallRng};

/// Measures what a packet costs in the loaded datapath.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut random = SmallRng::from_os_rng();
    if options.veth && options.list {
        trial::all(options.with_ipvs).iter().for_each(|trial| println!("{}", trial.name));
        return Ok(());
    }
    if options.veth {
        ensure!(datapath::available(), "the datapath cannot be loaded");
        eprintln!("frames on CPU {}", stay()?);
        return veth::run(options, &mut random);
    }
    let cases = selected(options);
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    ensure!(!cases.is_empty(), "--cases: no case has such a name\nhint: --list lists the cases");
    ensure!(datapath::available(), "the datapath cannot be loaded");
    // Read the commit now: the programs were built from the present tree, which may change during the run.
    let machine = Machine::this();
    eprintln!("{} cases on CPU {}", cases.len(), stay()?);
    let mut cases: Vec<Measured> = cases.into_iter().map(Measured::new).collect();
    let mut quiet = Quiet::default();
    let (loads, rounds) = (options.loads, options.rounds());
    for load in 0..loads {
        eprintln!("load {} of {loads}", load + 1);
        let mut driver = Driver::load()?;
        let mut loaded = Loaded::new(&mut driver, &mut cases, &mut quiet, &mut random)?;
        for round in 1..=rounds {
            eprintln!("load {} of {loads}, round {round} of {rounds}", load + 1);
            loaded.round(&mut random, load as usize, options.packets())?;
        }
        loaded.free();
    }
    quiet.judge(&mut cases);
    publish(options, &Report::new(machine, (loads, rounds), &cases))
}

/// Prints the report, and writes it to the files that the options name.
fn publish(options: &Options, report: &Report<'_>) -> Result<()> {
    println!("{}", document::text_of(report));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json::document(report))? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if options.write_docs {
        document::write(report)?;
    }
    Ok(())
}

/// The requested cases, and those that they are compared with.
fn selected(options: &Options) -> Vec<Case> {
    let all = cases::all(Scale::FULL);
    let wanted = || all.iter().filter(|case| options.wants(&case.name));
    let mut names: BTreeSet<String> = wanted().map(|case| case.name.clone()).collect();
    names.extend(wanted().filter_map(|case| case.floor.clone()));
    let bases: Vec<String> =
        all.iter().filter(|case| names.contains(&case.name)).map(Case::base).collect();
    names.extend(bases);
    all.into_iter().filter(|case| names.contains(&case.name)).collect()
}

/// Pins this thread to the last CPU that the process may use, with raised priority where that is allowed.
fn stay() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let cpu = (0..CpuSet::count()).rev().find(is_allowed).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    // SAFETY: the call takes no pointers. If it is refused, figures are only noisier.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    Ok(cpu)
}
