//! The acts during a transfer: weights, quiesce, takeover.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::VIP4;

use crate::{
    show::Show,
    stage::Stage,
    transfer::{Transfer, megabytes},
};

/// Weights change while a transfer is in flight.
pub(crate) fn weights_in_flight(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("Weights change while a transfer is in flight");
    let (mut transfer, before) = begin(stage, show, "first")?;
    // The server that sends gets weight 0, the others 4 and 1.
    let mut weights = [0; 3];
    let mut rest = [4, 1].into_iter();
    for (server, weight) in stage.lab.backends.iter().zip(&mut weights) {
        *weight = if server.name() == transfer.backend { 0 } else { rest.next().unwrap_or(0) };
        let said = format!("weight web {} {weight}", server.name());
        stage.dispatcher(show, &said)?;
    }
    stage.expect_shares(show, VIP4.into(), 100, weights)?;
    let done = transfer.ensure_in_flight()?;
    show.say(&format!(
        "the transfer goes on: {} so far, from a server of weight 0",
        megabytes(done)
    ));
    let (backend, size) = end(stage, show, transfer)?;
    let through =
        stage.daemon.metric("dispatcher_service_bytes_total", &["service=\"web\""])? - before;
    ensure!(through < size as f64 / 4.0, "{through} bytes of {size} passed the dispatcher");
    show.good(&format!(
        "{} came from {backend} directly; {} of requests and acknowledgements passed the dispatcher",
        megabytes(size),
        megabytes(through as u64)
    ));
    for (server, weight) in [("web-1", 3), ("web-2", 2), ("web-3", 1)] {
        stage.dispatcher(show, &format!("weight web {server} {weight}"))?;
    }
    Ok(())
}

/// A backend is quiesced: its connections continue, and it gets no new ones.
pub(crate) fn quiesce(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("A server is quiesced: its transfer continues, and it gets no new connections");
    let (mut transfer, _) = begin(stage, show, "second")?;
    let backend = transfer.backend.clone();
    stage.dispatcher(show, &format!("quiesce web {backend}"))?;
    let mut weights = [3, 2, 1];
    for (server, weight) in stage.lab.backends.iter().zip(&mut weights) {
        if server.name() == backend {
            *weight = 0;
        }
    }
    let number = weights.iter().sum::<u32>() * 20;
    stage.expect_shares(show, VIP4.into(), number, weights)?;
    transfer.ensure_in_flight()?;
    end(stage, show, transfer)?;
    stage.dispatcher(show, &format!("unquiesce web {backend}"))?;
    stage.expect_shares(show, VIP4.into(), 60, [3, 2, 1])
}

/// The controller is killed; traffic continues; the next controller takes over.
pub(crate) fn kill_and_take_over(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("The controller is killed, and another takes over");
    stage.dispatcher(show, "weight web web-3 3")?;
    let (mut transfer, _) = begin(stage, show, "third")?;
    show.command(&format!("kill -KILL {}", stage.daemon.process()?.pid()));
    stage.daemon.kill();
    ensure!(stage.daemon.cli(["status"])?.status == 3, "status found a daemon");
    show.good("dispatcher status: exit 3, no daemon");
    stage.expect_shares(show, VIP4.into(), 80, [3, 2, 3])?;
    transfer.ensure_in_flight()?;
    show.say("requests continue while a new controller starts:");
    show.command(&format!("dispatcher run -c {} &", stage.daemon.config().display()));
    let began = Instant::now();
    let client = stage.lab.client().clone();
    let requests = std::thread::spawn(move || client.quick_requests(VIP4.into(), 320));
    stage.daemon.start()?;
    let took = began.elapsed();
    let tally = requests.join().ok().context("the requests panicked")??;
    stage.check_shares(show, VIP4.into(), &tally, 320, [3, 2, 3])?;
    end(stage, show, transfer)?;
    let weight = stage
        .daemon
        .metric("dispatcher_backend_weight", &["service=\"web\"", "backend=\"web-3\""])?;
    ensure!(weight == 3.0, "weight of web-3 is {weight}, expected 3");
    show.good(&format!(
        "taken over in {:.1} s; the weight set by hand is still in force",
        took.as_secs_f32()
    ));
    Ok(())
}

/// Starts a transfer; returns it, and the service's forwarded bytes before it.
fn begin(stage: &mut Stage, show: &Show, name: &str) -> Result<(Transfer, f64)> {
    let before = stage.daemon.metric("dispatcher_service_bytes_total", &["service=\"web\""])?;
    let transfer = Transfer::start(&stage.lab, name)?;
    *stage.sent.entry(transfer.backend.clone()).or_default() += 1;
    show.say(&format!("a download begins; {} sends it", transfer.backend));
    Ok((transfer, before))
}

/// Waits for a transfer's end; returns who sent it and its size.
fn end(stage: &Stage, show: &Show, transfer: Transfer) -> Result<(String, u64)> {
    let backend = transfer.backend.clone();
    let size = transfer.finish(&stage.checksum)?;
    show.good(&format!(
        "the download is complete and intact (sha256 {}...)",
        &stage.checksum[..16]
    ));
    Ok((backend, size))
}
