//! The acts without a transfer: start, shares, counters, stop. Each says what it does, does it, and checks it.

use std::time::Duration;

use anyhow::{Result, ensure};
use dispatcher_lab::{VIP4, VIP6, eventually};

use crate::{show::Show, stage::Stage};

/// The controller checks its file, loads the datapath and finds the backends.
pub(crate) fn start(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("The controller loads the datapath and finds the backends' MAC addresses");
    let config = stage.daemon.config().display().to_string();
    stage.dispatcher(show, &format!("check -c {config}"))?;
    show.command(&format!("dispatcher run -c {config} &"));
    stage.daemon.start()?;
    eventually(Duration::from_secs(10), "all backends up", || {
        Ok(stage.daemon.metric("dispatcher_backend_up", &[])? == 6.0)
    })?;
    show.say(&stage.dispatcher(show, "backends web")?);
    let ping = stage.lab.client().output(&format!("ping -c 1 -W 2 {VIP4}"))?;
    ensure!(ping.status.success(), "{VIP4} does not answer ping");
    show.good(&format!("three backends are up, {VIP4} answers ping"));
    Ok(())
}

/// Checks the shares of weights 3:2:1, in both families.
pub(crate) fn shares(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("Shares: weights 3:2:1");
    stage.expect_shares(show, VIP4.into(), 600, [3, 2, 1])?;
    stage.expect_shares(show, VIP6.into(), 600, [3, 2, 1])
}

/// Status and metrics, compared with what the client saw.
pub(crate) fn counters(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("What status and metrics say");
    eventually(Duration::from_secs(15), "end of all connections in the counters", || {
        Ok(stage.daemon.metric("dispatcher_backend_active_connections", &[])? == 0.0)
    })?;
    show.say(&stage.dispatcher(show, "status")?);
    show.command("curl -s 127.0.0.1:9464/metrics | grep ...");
    let page = stage.daemon.metrics()?;
    let telling = [
        "dispatcher_packets_total",
        "dispatcher_backend_connections_total",
        "dispatcher_backend_weight",
    ];
    for line in page.lines().filter(|line| telling.iter().any(|name| line.starts_with(name))) {
        show.say(line);
    }
    for (backend, count) in &stage.sent {
        let labels = ["service=\"web\"".to_owned(), format!("backend=\"{backend}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let counted = stage.daemon.metric("dispatcher_backend_connections_total", &labels)?;
        ensure!(counted == f64::from(*count), "{backend}: {counted} counted, {count} made");
    }
    show.good(
        "both controllers together counted exactly the client's connections; none is active now",
    );
    Ok(())
}

/// SIGTERM detaches the datapath.
pub(crate) fn stop(stage: &mut Stage, show: &mut Show) -> Result<()> {
    show.step("The controller is stopped and detaches");
    show.command(&format!("kill -TERM {}", stage.daemon.process()?.pid()));
    let status = stage.daemon.stop()?;
    ensure!(status == Some(0), "the controller ended with {status:?}: {}", stage.daemon.log());
    let link = stage.lab.lb.ip("link show dev eth0")?;
    ensure!(!link.contains("xdp"), "the datapath is still attached: {link}");
    let addresses = stage.lab.lb.ip("addr show dev eth0")?;
    ensure!(!addresses.contains(&VIP4.to_string()), "the VIP is still on eth0: {addresses}");
    show.good("no XDP program on the NIC, no VIP");
    Ok(())
}
