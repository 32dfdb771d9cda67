//! A backend dies under load. Its advisor takes it out; once it is back, it ramps up over `slow_start`.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Answered, Process, VIP4, VIP6, eventually, until};

use crate::{
    phases::{self, Counts, Phase},
    scrapes::{Scrapes, Series},
    show::Show,
    stage::{self, Stage},
};

/// Index of the server that dies.
const SERVER: usize = 1;
const BACKEND: &str = "web-2";
const WEIGHT: u32 = 10;
/// Requests per second of the load.
const RATE: f64 = 60.0;
/// Number of requests that is enough to show the shares.
const SEEN: f64 = 60.0;
const SETTINGS: &str = "slow_start = \"6s\"\n\
    advisor = { kind = \"http\", interval = \"1s\", connect_timeout = \"2s\" }\n";
/// How long a dead backend may get requests: interval and timeout of its advisor.
const FOUND_OUT: Duration = Duration::from_secs(1 + 2);

const UP: Series = ("dispatcher_backend_up", "");
const WEIGHT_OF: Series = ("dispatcher_backend_weight", "");
const GOOD: Series = ("dispatcher_advisor_probes_total", "result=\"success\"");
const BAD: Series = ("dispatcher_advisor_probes_total", "result=\"failure\"");

/// Moments of the act, counted from the start of the load.
struct Times {
    died: Duration,
    out: Duration,
    back: Duration,
    /// Each weight of the returning backend, and when it was first seen.
    weights: Vec<(u64, Duration)>,
    end: Duration,
}

/// Plays the act.
pub(crate) fn dies_and_returns(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step(
        "A backend dies under load, its advisor takes it out, and it comes back with slow_start",
    );
    let events = listen(stage, show)?;
    let web = stage::service("web", VIP4.into(), 80, SETTINGS, [WEIGHT; 3]);
    let web6 = stage::service("web6", VIP6.into(), 80, "", stage::WEIGHTS);
    stage.reload(show, &(web + &web6))?;
    eventually(Duration::from_secs(10), "first event", || {
        // A listener that connects later does not get earlier events.
        let listens = events.log().contains("reloaded");
        if !listens {
            stage.daemon.ok("reload")?;
        }
        Ok(listens)
    })?;

    let mut scrapes = Scrapes::of("web", BACKEND);
    let (times, answered) = play(stage, show, &mut scrapes)?;
    let counts = phases::show(show, &answered, &phases_of(&times), SERVER);
    check_outage(show, &times, &answered, &counts)?;
    check_return(show, &times, &counts)?;
    check_events(show, &events)?;
    check_metrics(show, &scrapes)
}

/// `dispatcher events`, in the background.
fn listen(stage: &Stage, show: &Show) -> Result<Process> {
    show.command("dispatcher events > events.log &");
    let command = stage.daemon.command(["events"]);
    stage.lab.lb.spawn_command("events", command)
}

/// Kills the server and brings it back, under load.
fn play(stage: &mut Stage, show: &Show, scrapes: &mut Scrapes) -> Result<(Times, Vec<Answered>)> {
    show.say(&format!(
        "{RATE} requests a second, each on a connection of its own; none waits for another"
    ));
    let load = stage.lab.client().start_load(SocketAddr::new(VIP4.into(), 80), RATE);
    stage.placed("web", SEEN)?;
    scrapes.take("alive", &stage.daemon)?;

    let died = load.elapsed();
    show.command(&format!("kill -KILL -{}      # {BACKEND}'s nginx", stage.servers[SERVER].pid()));
    stage.servers[SERVER].kill();
    until(Duration::from_secs(10), "end of requests to the dead backend", || {
        Ok((scrapes.now(&stage.daemon, UP)? == 0.0).then_some(()))
    })?;
    let out = load.elapsed();
    stage.placed("web", SEEN)?;
    scrapes.take("dead", &stage.daemon)?;
    let state = stage.dispatcher(show, "backends web")?;
    show.say(&state);
    ensure!(state.contains("down: http"), "{BACKEND} is not shown as down");

    show.command(&format!("nginx &             # on {BACKEND} again"));
    stage.servers[SERVER] = stage.lab.backends[SERVER].serve_web()?;
    until(Duration::from_secs(10), "return of the backend", || {
        Ok((scrapes.now(&stage.daemon, UP)? == 1.0).then_some(()))
    })?;
    let back = load.elapsed();
    scrapes.take("back", &stage.daemon)?;
    let mut weights = Vec::new();
    until(Duration::from_secs(15), "whole weight", || {
        let weight = scrapes.now(&stage.daemon, WEIGHT_OF)? as u64;
        if weights.last().is_none_or(|(last, _)| *last != weight) {
            weights.push((weight, load.elapsed()));
        }
        Ok((weight >= WEIGHT.into()).then_some(()))
    })?;
    stage.placed("web", 1.5 * SEEN)?;
    scrapes.take("whole", &stage.daemon)?;
    let end = load.elapsed();
    Ok((Times { died, out, back, weights, end }, load.stop()?))
}

fn phases_of(times: &Times) -> Vec<Phase> {
    let Times { died, out, back, ref weights, end } = *times;
    let mut phases = vec![
        Phase::new("all are alive", Duration::ZERO..died),
        Phase::new("web-2 is dead", died..out),
        Phase::new("the advisor has it down", out..back),
    ];
    let until = weights.iter().skip(1).map(|(_, since)| *since).chain([end]);
    for ((weight, since), until) in weights.iter().zip(until) {
        phases.push(Phase::new(format!("it is back, with weight {weight}"), *since..until));
    }
    phases
}

fn check_outage(
    show: &Show,
    times: &Times,
    answered: &[Answered],
    counts: &[Counts],
) -> Result<()> {
    let found = times.out - times.died;
    ensure!(found < FOUND_OUT, "it was out after {found:?}, expected less than {FOUND_OUT:?}");
    // One request in three fails until the backend is out, and those that were in progress when it died.
    let (most, failed) = (counts[1].total() / 3 + 10, counts[0].failed + counts[1].failed);
    ensure!(failed <= most, "{failed} requests failed, expected {most} at most");
    let late = answered.iter().filter(|one| one.by.is_none() && one.due >= times.out).count();
    ensure!(late == 0, "{late} requests failed once it was out, expected none");
    show.good(&format!(
        "out {:.1} s after its death; requests that failed: {failed} until then, none after",
        found.as_secs_f64()
    ));
    Ok(())
}

fn check_return(show: &Show, times: &Times, counts: &[Counts]) -> Result<()> {
    let rising: Vec<u64> = times.weights.iter().map(|(weight, _)| *weight).collect();
    ensure!(rising.is_sorted() && rising.len() >= 3, "its weights were {rising:?}");
    let (first, whole) = (counts[3].share(SERVER), counts[counts.len() - 1].share(SERVER));
    ensure!((0.25..0.42).contains(&whole), "its share is {whole:.2}, expected a third");
    ensure!(first < 0.6 * whole, "its share was {first:.2} at first, and {whole:.2} in the end");
    show.good(&format!(
        "back with weights {rising:?}: its share rose from {:.0} to {:.0} %",
        100.0 * first,
        100.0 * whole
    ));
    Ok(())
}

fn check_events(show: &Show, events: &Process) -> Result<()> {
    show.command(&format!("grep {BACKEND} events.log"));
    let log = events.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(BACKEND)).collect();
    for line in &told {
        show.say(line);
    }
    let place = |word: &str| told.iter().position(|line| line.contains(word));
    let down = place("server_down").context("no event server_down")?;
    ensure!(told[down].contains("down: http"), "server_down has no reason: {}", told[down]);
    let up = place("server_up").context("no event server_up")?;
    ensure!(down < up, "server_up came before server_down");
    show.good("the events say when it went, why, and when it came back");
    Ok(())
}

fn check_metrics(show: &Show, scrapes: &Scrapes) -> Result<()> {
    scrapes.show(show, &[UP, WEIGHT_OF, GOOD, BAD])?;
    let ups = scrapes.values(UP)?;
    ensure!(ups == [1.0, 0.0, 1.0, 1.0], "its metric \"up\" was {ups:?}");
    let weights = scrapes.values(WEIGHT_OF)?;
    ensure!(weights[2] < weights[3] && weights[3] == weights[0], "its weights were {weights:?}");
    let (good, bad) = (scrapes.values(GOOD)?, scrapes.values(BAD)?);
    ensure!(bad[1] > bad[0], "its failed probes were {bad:?}");
    ensure!(good[3] > good[2] && good[2] > good[0], "its good probes were {good:?}");
    show.good(&format!(
        "by the metrics, {:.0} probes failed and have it down, {:.0} were good since and have it up",
        bad[1] - bad[0],
        good[3] - good[1]
    ));
    Ok(())
}
