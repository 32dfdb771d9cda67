//! How a daemon ends: SIGTERM detaches, and `detach --all` cleans up after anything.

use std::time::Duration;

use anyhow::{Result, ensure};
use dispatcher_lab::{Lab, VIP4, VIP6, eventually};

use crate::common::{VIPS, Web, tally};

/// What is left of the product on the dispatcher's host.
fn left(lab: &Lab) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let link = lab.lb.ip("link show eth0")?;
    if link.contains("xdp") {
        left.push(link);
    }
    let addresses = lab.lb.ip("addr show eth0")?;
    for vip in [format!(" {VIP4}/"), format!(" {VIP6}/")] {
        if addresses.contains(&vip) {
            left.push(vip);
        }
    }
    if let Ok(entries) = std::fs::read_dir(lab.pin_dir()) {
        left.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    Ok(left)
}

/// Fails if something is left of the product on the dispatcher's host.
pub(crate) fn nothing_left(lab: &Lab) -> Result<()> {
    let left = left(lab)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn sigterm_detaches_and_leaves_nothing() -> Result<()> {
    let Some(mut web) = Web::start("sigterm", &[1])? else { return Ok(()) };
    ensure!(left(&web.lab)?.len() >= 3, "{:?}", left(&web.lab)?);
    assert_eq!(web.daemon.stop()?, Some(0));
    nothing_left(&web.lab)?;
    // It can start again.
    web.daemon.start()?;
    crate::common::all_up(&web.daemon)?;
    assert_eq!(web.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
    Ok(())
}

#[test]
fn detach_all_cleans_up_without_a_daemon() -> Result<()> {
    let Some(mut web) = Web::start("cleanup", &[1])? else { return Ok(()) };
    web.daemon.kill();
    assert_eq!(web.requests(VIPS[0], 10)?, tally([("web-1", 10)]), "the datapath goes on");
    let pins = web.lab.pin_dir().display().to_string();
    web.daemon.ok(&format!("detach --all --pin-dir {pins}"))?;
    nothing_left(&web.lab)?;
    // Again: nothing to do is no error.
    web.daemon.ok(&format!("detach --all --pin-dir {pins}"))?;
    web.daemon.start()?;
    crate::common::all_up(&web.daemon)?;
    assert_eq!(web.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
    Ok(())
}

#[test]
fn a_nic_goes_out_and_in_by_hand() -> Result<()> {
    let Some(web) = Web::start("byhand", &[1])? else { return Ok(()) };
    web.daemon.ok("detach eth0")?;
    assert!(!web.lab.lb.ip("link show eth0")?.contains("xdp"));
    web.daemon.ok("attach eth0")?;
    assert!(web.lab.lb.ip("link show eth0")?.contains("xdp"));
    eventually(Duration::from_secs(10), "service over the NIC again", || {
        Ok(web.requests(VIPS[0], 10)? == tally([("web-1", 10)]))
    })
}

#[test]
fn a_vip_that_was_there_before_stays() -> Result<()> {
    let Some(mut web) = Web::start("vip", &[1])? else { return Ok(()) };
    assert_eq!(web.daemon.stop()?, Some(0));
    web.lab.lb.ip(&format!("addr add {VIP4}/32 dev eth0"))?;
    web.daemon.start()?;
    assert_eq!(web.daemon.stop()?, Some(0));
    let addresses = web.lab.lb.ip("addr show eth0")?;
    assert!(addresses.contains(&format!(" {VIP4}/32")), "not ours to remove: {addresses}");
    assert!(!addresses.contains(&format!(" {VIP6}/")), "ours: {addresses}");
    Ok(())
}
