//! The demo: shows the dispatcher with real traffic in network namespaces, and checks each step.
//!
//! `cargo xtask demo` builds and runs it. It makes a client, the dispatcher and three web servers, uses them, and removes them
//! again, also on Ctrl-C; with `--keep` they stay. It ends with status 0 only if every step did what it says. `DISPATCHER_BIN`
//! names the dispatcher's binary.

mod acts;
mod death;
mod flight;
mod keep;
mod phases;
mod scrapes;
mod show;
mod slow;
mod stage;
mod transfer;

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::{Result, bail, ensure};
use dispatcher_lab::{Lab, Plan};

use show::Show;
use stage::Stage;

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
    let keep = match words {
        [] => false,
        [word] if word == "--keep" => true,
        _ => bail!("{}: expected nothing or --keep", words.join(" ")),
    };
    let binary = dispatcher_lab::binary()?;
    let started = Instant::now();
    let mut show = Show::new();
    let played = play(&binary, keep, &mut show);
    match &played {
        Ok(()) => show.end(started.elapsed()),
        Err(_) => show.bad("this step did not do what it says; the lab is taken down"),
    }
    played
}

/// Plays all acts. The stage removes everything that was made, also after an error.
fn play(binary: &Path, keep: bool, show: &mut Show) -> Result<()> {
    show.step("A laboratory: client, dispatcher and three web servers, each a network namespace");
    let lab = Lab::new(&Plan::new("demo"))?;
    let traces = Traces::of(&lab);
    let mut stage = Stage::set(lab, binary.to_owned())?;
    stage.introduce(show);
    acts::start(&mut stage, show)?;
    acts::shares(&mut stage, show)?;
    flight::weights_in_flight(&mut stage, show)?;
    flight::quiesce(&mut stage, show)?;
    flight::kill_and_take_over(&mut stage, show)?;
    acts::counters(&mut stage, show)?;
    slow::slows_down(&mut stage, show)?;
    death::dies_and_returns(&mut stage, show)?;
    if keep {
        stage.keep(show);
        return Ok(());
    }
    acts::stop(&mut stage, show)?;
    drop(stage);
    traces.ensure_gone()?;
    show.good("no namespace, no pin, no file is left");
    Ok(())
}

/// The traces that a laboratory leaves if it is not removed.
struct Traces {
    prefix: String,
    paths: [std::path::PathBuf; 2],
}

impl Traces {
    fn of(lab: &Lab) -> Self {
        let namespace = lab.lb.namespace();
        let prefix = namespace.strip_suffix(lab.lb.name()).unwrap_or(namespace);
        Self { prefix: prefix.to_owned(), paths: [lab.pin_dir(), lab.directory().to_owned()] }
    }

    fn ensure_gone(&self) -> Result<()> {
        let namespaces = dispatcher_lab::run("ip netns list")?;
        ensure!(!namespaces.contains(&self.prefix), "network namespaces {}* are left", self.prefix);
        for path in &self.paths {
            ensure!(!path.exists(), "{} is left", path.display());
        }
        Ok(())
    }
}
