//! The capabilities of the systemd unit are enough for everything the daemon does.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dispatcher_tests::lab::Plan;

use crate::{
    common::{VIPS, all_up, lab, tally, web_services},
    detach::nothing_left,
};

/// The words of `CapabilityBoundingSet` in the unit that is shipped.
fn capabilities() -> Result<Vec<String>> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/dispatcher.service");
    let text = std::fs::read_to_string(&unit)?;
    let set = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    Ok(set.context("CapabilityBoundingSet")?.split_whitespace().map(str::to_owned).collect())
}

/// A set of capabilities of a process, as the kernel shows it.
fn set_of(pid: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(u64::from_str_radix(line.context("capabilities")?.trim_start_matches(':').trim(), 16)?)
}

#[test]
fn the_units_capabilities_attach_forward_reload_take_over_and_detach() -> Result<()> {
    let Some(lab) = lab(&Plan::new("caps").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let capabilities = capabilities()?;
    let capabilities: Vec<_> = capabilities.iter().map(String::as_str).collect();
    let mut daemon = lab.daemon(&web_services(&lab, &[1, 1]))?;
    daemon.launch_confined(&capabilities, &[])?;
    daemon.wait_ready()?;
    let pid = u32::try_from(daemon.json("status")?["pid"].as_u64().context("pid")?)?;
    for set in ["CapEff", "CapBnd"] {
        let held = set_of(pid, set)?.count_ones() as usize;
        ensure!(held == capabilities.len(), "{set} of the daemon has {held} capabilities");
    }
    all_up(&daemon)?;
    for vip in VIPS {
        let got = lab.client().quick_requests(vip, 20)?;
        assert_eq!(got, tally([("web-1", 10), ("web-2", 10)]), "{vip}");
    }
    daemon.write(&(lab.general(&["eth0"]) + &web_services(&lab, &[3, 1])))?;
    daemon.ok("reload")?;
    daemon.ok("weight web6 web-1 9 --save")?;
    daemon.kill();
    daemon.launch_confined(&capabilities, &[])?;
    daemon.wait_ready()?;
    for (vip, first) in VIPS.into_iter().zip([15, 18]) {
        let got = lab.client().quick_requests(vip, 20)?;
        assert_eq!(got, tally([("web-1", first), ("web-2", 20 - first)]), "{vip}");
    }
    daemon.ok("detach eth0")?;
    daemon.ok("attach eth0")?;
    assert_eq!(daemon.stop()?, Some(0));
    nothing_left(&lab)
}
