//! Measures how many real packets per second go through a veth pair.
//!
//! ```text
//!  near                                    far
//!   generator ── live frames ──► eth0 ───► eth0 ── the dispatcher, a floor, or IPVS
//!   sink, counts and drops ◄──── eth0 ◄─── eth0 ◄── out by where it came
//! ```
//!
//! There are two namespaces and one CPU: a program writes frames of many flows ([`wire`]), and the kernel sends them as if a
//! NIC had received them (`BPF_F_TEST_XDP_LIVE_FRAMES`). Everything up to the sink happens on the CPU of the generator
//! (`busy`), so the time of a frame covers the whole path. The net figure is that minus the time of an empty path
//! ([`trial`], `bounce`).

use anyhow::{Context as _, Result, ensure};
use rand::{rngs::SmallRng, seq::SliceRandom as _};

use crate::options::Options;

mod busy;
pub mod ipvs;
mod table;
pub mod trial;
pub mod wire;

use trial::Trial;
use wire::Wire;

/// A trial and its figures.
pub struct Measured {
    trial: Trial,
    /// Nanoseconds per frame, by round.
    figures: Vec<f64>,
}

/// Loads the trials, sends their frames in interleaved rounds, and prints a table.
///
/// # Errors
/// When the kernel refuses a call, or frames do not come back.
pub fn run(options: &Options, random: &mut SmallRng) -> Result<()> {
    let mut wire = Wire::new()?;
    let mut trials = Vec::new();
    for trial in trial::all(options.with_ipvs) {
        if !options.cases.is_empty() && !options.wants(&trial.name) && !trial.is_base() {
            continue;
        }
        eprintln!("{}: opening its connections", trial.name);
        let mut trial = trial;
        trial.load(&mut wire).with_context(|| format!("case {}", trial.name))?;
        trials.push(Measured { trial, figures: Vec::new() });
    }
    ensure!(trials.len() > 1, "--cases: no case has such a name");
    for round in 1..=options.veth_rounds() {
        eprintln!("round {round} of {}", options.veth_rounds());
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.shuffle(random);
        for number in order {
            let Measured { trial, figures } = &mut trials[number];
            let ns = trial.measure(&mut wire, options.frames());
            figures.push(ns.with_context(|| format!("case {}", trial.name))?);
        }
    }
    let (text, unit) = match options.instructions {
        true => (table::instructions(&trials), "instructions/frame"),
        false => (table::text(&trials), "ns/frame"),
    };
    println!("{text}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&table::json(&trials, unit))? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
