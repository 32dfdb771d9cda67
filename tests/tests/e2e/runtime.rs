//! Changes at runtime: weight, quiesce, up and down, services and backends. They apply to the next connection and do
//! not harm existing ones.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::SlowDownload;

use crate::common::{VIPS, Web, backend_of, noise, publish, tally, web};

const SIZE: usize = 60_000_000;

/// A transfer from `web-1`, in progress.
fn transfer(web: &Web, vip: IpAddr) -> Result<SlowDownload> {
    for _ in 0..20 {
        let transfer = web.lab.client().slow_download(vip, "/files/big")?;
        if transfer.server() == "web-1" {
            return Ok(transfer);
        }
        // The connection stays until its reader has read everything.
        transfer.finish()?;
    }
    anyhow::bail!("no connection went to web-1")
}

#[test]
fn weights_are_in_force_for_the_next_connection_and_spare_transfers() -> Result<()> {
    let Some(lab) = Web::start("weights", &[3, 2, 1])? else { return Ok(()) };
    let file = noise(SIZE);
    publish(&lab.lab, "big", &file)?;
    for vip in VIPS {
        let service = web(vip);
        let transfer = transfer(&lab, vip)?;
        let mut took = Vec::new();
        for (backend, weight) in [("web-1", 0), ("web-2", 4), ("web-3", 1)] {
            let words = ["weight", service, backend, &weight.to_string()].map(str::to_owned);
            let said = lab.daemon.cli(words)?;
            ensure!(said.status == 0, "{}", said.err);
            took.push(said.took);
        }
        assert_eq!(lab.requests(vip, 100)?, tally([("web-2", 80), ("web-3", 20)]), "{vip}");
        ensure!(transfer.finish()? == file, "the transferred file differs");
        // Under 50 ms in a release build; a debug build may take longer.
        let shipped = dispatcher_lab::binary()?.ends_with("release/dispatcher");
        let quickest = took.iter().min().context("a command")?;
        assert!(*quickest < Duration::from_millis(if shipped { 50 } else { 500 }), "{took:?}");
        let now = backend_of(&lab.daemon, service, "web-2")?;
        assert_eq!(now["weight"], 4);
    }
    Ok(())
}

#[test]
fn a_quiesced_backend_gets_nothing_new_and_keeps_what_it_has() -> Result<()> {
    let Some(lab) = Web::start("quiesce", &[1, 4, 1])? else { return Ok(()) };
    let file = noise(SIZE);
    publish(&lab.lab, "big", &file)?;
    for vip in VIPS {
        let service = web(vip);
        let transfer = transfer(&lab, vip)?;
        lab.daemon.ok(&format!("quiesce {service} web-1"))?;
        assert_eq!(lab.requests(vip, 100)?, tally([("web-2", 80), ("web-3", 20)]), "{vip}");
        let state = backend_of(&lab.daemon, service, "web-1")?;
        assert_eq!((&state["quiesced"], &state["active_connections"]), (&true.into(), &1.into()));
        ensure!(transfer.finish()? == file, "the transferred file differs");
        lab.daemon.ok(&format!("unquiesce {service} web-1"))?;
        assert_eq!(
            lab.requests(vip, 60)?,
            tally([("web-1", 10), ("web-2", 40), ("web-3", 10)]),
            "{vip}"
        );
    }
    Ok(())
}

#[test]
fn a_backend_taken_down_by_hand_gets_nothing_at_all() -> Result<()> {
    let Some(lab) = Web::start("down", &[1, 1])? else { return Ok(()) };
    let file = noise(SIZE);
    publish(&lab.lab, "big", &file)?;
    let vip = VIPS[0];
    let transfer = transfer(&lab, vip)?;
    lab.daemon.ok("down web4 web-1")?;
    assert_eq!(lab.requests(vip, 20)?, tally([("web-2", 20)]));
    let state = backend_of(&lab.daemon, "web4", "web-1")?;
    assert_eq!((&state["up"], &state["down_by_hand"]), (&false.into(), &true.into()));
    // The transfer's packets are dropped: it stalls. Up again, it continues.
    std::thread::sleep(Duration::from_secs(1));
    let before = transfer.received();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(transfer.received(), before, "the transfer stands still");
    assert!(crate::common::reason(&lab.daemon, "drop", "backend_down") > 0.0);
    lab.daemon.ok("up web4 web-1")?;
    ensure!(transfer.finish()? == file, "the transfer goes on when the backend is up again");
    assert_eq!(lab.requests(vip, 20)?, tally([("web-1", 10), ("web-2", 10)]));
    Ok(())
}

#[test]
fn services_and_backends_come_and_go_at_runtime() -> Result<()> {
    let Some(lab) = Web::start("runtime", &[1, 1])? else { return Ok(()) };
    let daemon = &lab.daemon;
    let other = dispatcher_lab::OTHER_VIP4;
    daemon.ok(&format!("service add shop --vip {other} --port 80 --protocol tcp"))?;
    for backend in &lab.lab.backends {
        let (name, address) = (backend.name(), backend.v4());
        daemon.ok(&format!("backend add shop {name} --address {address} --weight 2"))?;
    }
    crate::common::all_up(daemon)?;
    assert_eq!(lab.requests(other.into(), 20)?, tally([("web-1", 10), ("web-2", 10)]));
    daemon.ok("backend set shop web-1 --weight 8")?;
    assert_eq!(lab.requests(other.into(), 20)?, tally([("web-1", 16), ("web-2", 4)]));
    daemon.ok("backend remove shop web-1")?;
    assert_eq!(lab.requests(other.into(), 5)?, tally([("web-2", 5)]));
    let said = daemon.cli(["backend", "add", "shop", "web-2", "--address", "10.0.0.99"])?;
    assert_eq!(said.status, 1, "{}", said.err);
    daemon.ok("service remove shop")?;
    let left = lab.lab.lb.ip("addr show eth0")?;
    assert!(!left.contains(&format!("{other}/")), "the VIP went with its last service: {left}");
    assert_eq!(lab.requests(VIPS[0], 10)?, tally([("web-1", 5), ("web-2", 5)]));
    Ok(())
}
