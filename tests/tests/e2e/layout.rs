//! Takeover from a datapath of the previous layout: no connection is lost or moved, at whatever step the new controller
//! dies.
//!
//! In the previous layout a bit of the hash had the place of a TCP connection's mark. So maps with the previous version number
//! and a random bit there look as a new controller would find them. `DISPATCHER_BEFORE` names a binary of the previous
//! release, to do the same with its program:
//!
//! `cargo test -p dispatcher-tests --test e2e layout -- --ignored --nocapture`

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Lab, SlowDownload};
use dispatcher_tests::fill::make_layout_before;

use crate::{
    common::{VIPS, Web, all_up, noise, publish, web_services},
    takeover::{STEPS, errors, exact_shares, seen, under_traffic},
};

/// Bytes of a download that lasts longer than a test.
const SIZE: usize = 200_000_000;

/// Downloads over both VIPs, all in progress.
fn transfers(lab: &Lab, number: usize) -> Result<Vec<SlowDownload>> {
    let vips = VIPS.into_iter().cycle().take(number);
    vips.map(|vip| lab.client().slow_download(vip, "/files/big")).collect()
}

/// Each stayed with its server to the end: another one would have reset it.
fn finish(transfers: Vec<SlowDownload>, file: &[u8]) -> Result<()> {
    for transfer in transfers {
        ensure!(transfer.finish()? == file, "the transferred file differs");
    }
    Ok(())
}

#[test]
fn the_layout_before_is_taken_over_wherever_the_new_controller_dies() -> Result<()> {
    let Some(web) = Web::start("layout", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let file = noise(SIZE);
    publish(&lab, "big", &file)?;
    let transfers = transfers(&lab, 8)?;
    let mut taken_over = 0;
    let traffic = under_traffic(&lab, || {
        daemon.kill();
        // From before the version is written to when the programs are replaced and the saved state is stored.
        for step in [1, 10, 30, 60, 90] {
            taken_over = make_layout_before(&lab)?;
            daemon.launch_traced(&format!("{STEPS}:signal=SIGKILL:when={step}"))?;
            daemon.wait_ended_or_ready()?;
            daemon.kill();
        }
        make_layout_before(&lab)?;
        daemon.start()
    })?;
    ensure!(taken_over >= 8, "{taken_over} connections of the layout before");
    assert_eq!(errors(&traffic), 0, "{traffic:?}\n{}", seen(&daemon)?);
    finish(transfers, &file)?;
    exact_shares(&lab)
}

/// The errors of earlier releases, which refuse the layout of the maps or the format of the saved state.
const NO_WAY_BACK: [&str; 2] =
    ["layout version 6, this controller has 5", "map RECORD: cannot read it: invalid data"];

#[test]
#[ignore = "needs the release before: DISPATCHER_BEFORE"]
fn the_release_before_is_taken_over_wherever_the_new_controller_dies() -> Result<()> {
    let before = PathBuf::from(std::env::var("DISPATCHER_BEFORE").context("DISPATCHER_BEFORE")?);
    let Some(web) = Web::start("before", &[3, 2, 1])? else { return Ok(()) };
    let Web { mut daemon, _servers, lab } = web;
    let file = noise(SIZE);
    publish(&lab, "big", &file)?;
    let services = web_services(&lab, &[3, 2, 1]);
    for step in [
        None,
        Some(1),
        Some(5),
        Some(10),
        Some(20),
        Some(35),
        Some(50),
        Some(70),
        Some(90),
        Some(120),
    ] {
        daemon.kill();
        daemon.ok(&format!("detach --all --pin-dir {}", lab.pin_dir().display()))?;
        let mut old = lab.daemon_of(before.clone(), &services)?;
        old.start()?;
        all_up(&old)?;
        let transfers = transfers(&lab, 8)?;
        let traffic = under_traffic(&lab, || {
            std::thread::sleep(Duration::from_millis(500));
            old.kill();
            if let Some(step) = step {
                daemon.launch_traced(&format!("{STEPS}:signal=SIGKILL:when={step}"))?;
                daemon.wait_ended_or_ready()?;
                daemon.kill();
                std::thread::sleep(Duration::from_millis(300));
            }
            daemon.start()?;
            std::thread::sleep(Duration::from_millis(500));
            Ok(())
        })?;
        println!("killed at {step:?}: {traffic:?}");
        assert_eq!(errors(&traffic), 0, "killed at {step:?}: {traffic:?}\n{}", seen(&daemon)?);
        finish(transfers, &file)?;
        // There is no way back.
        daemon.kill();
        let refused = old.start().err().context("the release before took a later layout over")?;
        let refused = format!("{refused:#}");
        ensure!(NO_WAY_BACK.iter().any(|error| refused.contains(error)), "{refused}");
    }
    daemon.start()?;
    all_up(&daemon)?;
    exact_shares(&lab)
}
