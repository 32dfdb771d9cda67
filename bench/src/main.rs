//! Measures what a packet costs, and prints a table. `cargo xtask bench` is how it is run.

use std::{collections::BTreeSet, fs, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use dispatcher_bench::{
    bench::Bench,
    cases::{self, Case, Scale},
    options::Options,
    report::{self, aims, chart, json, machine::Machine},
    veth::{self, trial},
};
use dispatcher_tests::datapath;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use rand::{SeedableRng as _, rngs::SmallRng};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let mut random = SmallRng::from_os_rng();
    if options.veth && options.list {
        trial::all(options.ipvs).iter().for_each(|trial| println!("{}", trial.name));
        return Ok(());
    }
    if options.veth {
        ensure!(datapath::available(), "the datapath cannot be loaded");
        eprintln!("frames on CPU {}", stay()?);
        return veth::run(&options, &mut random);
    }
    let cases = selected(&options);
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    ensure!(!cases.is_empty(), "--cases: no case is named so\nhint: --list lists them");
    ensure!(datapath::available(), "the datapath cannot be loaded");
    // What is measured was built from the tree as it is now, not as it is minutes later.
    let machine = Machine::this();
    let cpu = stay()?;
    eprintln!("{} cases on CPU {cpu}: loading", cases.len());
    let mut bench = Bench::new()?;
    for case in cases {
        bench.add(case)?;
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        bench.round(&mut random, options.packets())?;
    }
    let rows = report::rows(bench.cases());
    let reached = aims::reached(&rows);
    let Machine { processor, cpus, kernel, commit } = &machine;
    println!(
        "ns/packet, {} rounds; {processor}, {cpus} CPUs, Linux {kernel}, {commit}\n",
        options.rounds
    );
    println!("{}", report::table(&rows));
    if !reached.is_empty() {
        println!("{}", aims::table(&reached));
    }
    if let Some(path) = &options.json {
        let document = json::document(&machine, bench.cases(), &rows, &reached);
        let text = serde_json::to_string_pretty(&document)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &options.svg {
        fs::write(path, chart::draw(&machine, &rows))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The cases asked for, and those that they are compared with.
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

/// Stays on the last CPU that this process may use, before others where that is allowed.
fn stay() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let cpu = (0..CpuSet::count()).rev().find(is_allowed).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    // SAFETY: the call takes no pointers. Where it is refused, figures are only noisier.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    Ok(cpu)
}
