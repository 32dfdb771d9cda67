//! A backend becomes slow under load, and the manager lowers its weight.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Load, Queueing, VIP4, eventually, until};

use crate::{
    phases::{self, Phase},
    scrapes::{Scrapes, Series},
    show::Show,
    stage::{self, Stage},
};

const PORT: u16 = 9000;
/// Workers of each server.
const WORKERS: usize = 4;
/// How long a worker takes for a request: 200 requests per second for each server.
const QUICK: Duration = Duration::from_millis(20);
/// The same for the slow server: 25 requests per second, less than a third of the load.
const SLOW: Duration = Duration::from_millis(160);
/// Requests per second of the load.
const RATE: f64 = 120.0;
/// Number of requests that is enough to show the shares.
const SEEN: f64 = 240.0;
/// Index of the server that becomes slow.
const SERVER: usize = 1;
const BACKEND: &str = "web-2";

const MANAGER: &str = "[manager]\nenabled = true\ninterval = \"500ms\"\n\
    proportions = { active = 40, new = 20, advisor = 40, system = 0 }\n\n";
/// A probe waits in the same queue as requests, so its time shows the load. Its timeout is longer than any queue here.
const SETTINGS: &str = "measure = true\n\
    advisor = { kind = \"http\", interval = \"500ms\", receive_timeout = \"20s\" }\n";

const WEIGHT: Series = ("dispatcher_backend_weight", "");
const PROBE: Series = ("dispatcher_advisor_load_seconds", "");
const RESPONSES: Series = ("dispatcher_backend_response_seconds_count", "");
const RESPONSE_TIME: Series = ("dispatcher_backend_response_seconds_sum", "");

/// Plays the act.
pub(crate) fn slows_down(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("A backend becomes slow under load, and the manager lowers its weight");
    let servers = serve(stage)?;
    show.say(&format!(
        "a new service, app: {WORKERS} workers on each server, {QUICK:?} per request"
    ));
    let app = stage::service("app", VIP4.into(), PORT, SETTINGS, [10; 3]);
    stage.reload(show, &format!("{MANAGER}{}{app}", stage::services()))?;
    eventually(Duration::from_secs(10), "all of app up", || {
        Ok(stage.daemon.metric("dispatcher_backend_up", &["service=\"app\""])? == 3.0)
    })?;

    let mut scrapes = Scrapes::of("app", BACKEND);
    show.say(&format!(
        "{RATE} requests a second, each on a connection of its own; none waits for another"
    ));
    let load = stage.lab.client().start_load(SocketAddr::new(VIP4.into(), PORT), RATE);
    stage.placed("app", 1.5 * SEEN)?;
    until(Duration::from_secs(20), "weights that are about equal", || {
        Ok(weights(stage)?.iter().all(|weight| (8..=13).contains(weight)).then_some(()))
    })?;
    report(stage, show)?;
    scrapes.take("quick", &stage.daemon)?;

    let slowed = load.elapsed();
    servers[SERVER].takes(SLOW);
    show.say(&format!(
        "{BACKEND} now takes {SLOW:?} per request: 25 per second, but a third of the load is 40"
    ));
    let weights = until(Duration::from_secs(20), "fall of web-2's weight", || {
        let weights = weights(stage)?;
        let [first, second, third] = weights;
        Ok((second * 5 < first + third).then_some(weights))
    })?;
    let fallen = load.elapsed();
    stage.placed("app", SEEN)?;
    report(stage, show)?;
    scrapes.take("slow", &stage.daemon)?;
    show.good(&format!(
        "its weight fell to {}, beside {} and {}, in {:.1} s",
        weights[SERVER],
        weights[0],
        weights[2],
        (fallen - slowed).as_secs_f64()
    ));
    check_shares(show, load, slowed, fallen)?;
    check_metrics(show, &scrapes)?;
    // The servers end with this function, so the service goes first.
    stage.reload(show, &stage::services())
}

/// The servers of the service.
fn serve(stage: &Stage) -> Result<Vec<Queueing>> {
    let address = SocketAddr::new(VIP4.into(), PORT);
    let numbers = 1..=stage.lab.backends.len();
    numbers.map(|n| stage.lab.serve_queueing_on(n, &[address], WORKERS, QUICK)).collect()
}

fn weights(stage: &Stage) -> Result<[u64; 3]> {
    let rows = stage.daemon.json("backends app")?;
    let mut weights = [0; 3];
    for (number, weight) in weights.iter_mut().enumerate() {
        *weight = rows[number]["weight"].as_u64().context("a weight in backends")?;
    }
    Ok(weights)
}

/// Shows the manager's inputs for this service.
fn report(stage: &Stage, show: &Show) -> Result<()> {
    let report = stage.dispatcher(show, "manager report")?;
    for line in report.lines().take(2).chain(report.lines().filter(|l| l.starts_with("app "))) {
        show.say(line);
    }
    Ok(())
}

fn check_shares(show: &Show, load: Load, slowed: Duration, fallen: Duration) -> Result<()> {
    let end = load.elapsed();
    let phases = [
        Phase::new("all are quick", Duration::ZERO..slowed),
        Phase::new("web-2 is slow", slowed..fallen),
        Phase::new("its weight is lower", fallen..end),
    ];
    let counts = phases::show(show, &load.stop()?, &phases, SERVER);
    let (before, after) = (counts[0].share(SERVER), counts[2].share(SERVER));
    ensure!((0.22..0.45).contains(&before), "its share was {before:.2}, expected about a third");
    ensure!(1.4 * after < before, "its share went from {before:.2} to {after:.2}: not much less");
    let failed: u32 = counts.iter().map(|counts| counts.failed).sum();
    ensure!(failed == 0, "{failed} requests failed, expected none");
    show.good(&format!(
        "its share of new requests fell from {:.0} to {:.0} %; none failed",
        100.0 * before,
        100.0 * after
    ));
    Ok(())
}

fn check_metrics(show: &Show, scrapes: &Scrapes) -> Result<()> {
    scrapes.show(show, &[WEIGHT, PROBE, RESPONSES, RESPONSE_TIME])?;
    let weight = scrapes.values(WEIGHT)?;
    ensure!(weight[1] < weight[0], "its weights were {weight:?}");
    let probe = scrapes.values(PROBE)?;
    ensure!(probe[1] >= SLOW.as_secs_f64(), "its probe times were {probe:?}");
    let (count, sum) = (scrapes.values(RESPONSES)?, scrapes.values(RESPONSE_TIME)?);
    let (quick, slow) = (sum[0] / count[0], (sum[1] - sum[0]) / (count[1] - count[0]));
    ensure!(slow > quick + 0.1, "its mean response times were {quick} s and {slow} s");
    show.good(&format!(
        "by the metrics, {BACKEND}'s mean response time went from {:.0} to {:.0} ms",
        1000.0 * quick,
        1000.0 * slow
    ));
    Ok(())
}
