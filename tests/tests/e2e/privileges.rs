//! The capabilities of the systemd unit are enough for everything the daemon does.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Plan, eventually};

use crate::{
    common::{VIPS, all_up, backend_of, lab, tally, web_services},
    detach::nothing_left,
};

/// The words of `CapabilityBoundingSet` in the shipped unit.
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

/// Services whose VIPs are probed.
fn advised(services: &str) -> String {
    let advisor = "protocol = \"tcp\"\nadvisor = { kind = \"http\", interval = \"500ms\" }\n";
    services.replace("protocol = \"tcp\"\n", advisor)
}

/// Waits until a probe of `web4/web-1` has had this result.
fn probed(daemon: &Daemon, result: &str) -> Result<()> {
    eventually(Duration::from_secs(10), &format!("probes: {result}"), || {
        let probes = backend_of(daemon, "web4", "web-1")?["advisor"]["probes"].clone();
        Ok(probes[result].as_u64().context("probes")? > 0)
    })
}

/// Without CAP_SYS_ADMIN VIPs cannot be probed, and nothing else changes.
#[test]
fn without_the_right_to_make_a_namespace_nothing_is_found_out() -> Result<()> {
    let Some(lab) = lab(&Plan::new("nosys").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let mut capabilities = capabilities()?;
    capabilities.retain(|capability| capability != "CAP_SYS_ADMIN");
    let capabilities: Vec<_> = capabilities.iter().map(String::as_str).collect();
    let mut daemon = lab.daemon(&advised(&web_services(&lab, &[1, 1])))?;
    daemon.launch_confined(&capabilities, &[])?;
    daemon.wait_ready()?;
    eventually(Duration::from_secs(10), "a word on why", || {
        let error = backend_of(&daemon, "web4", "web-1")?["advisor"]["last_error"].clone();
        Ok(error.to_string().contains("network namespace for probes of VIPs: cannot be made"))
    })?;
    let status = daemon.ok("status")?;
    ensure!(status.contains("network namespace for probes of VIPs"), "{status}");
    ensure!(daemon.log().contains("hint: give the daemon CAP_SYS_ADMIN"), "{}", daemon.log());
    // Neither good nor bad: all keep their state.
    all_up(&daemon)?;
    let probes = backend_of(&daemon, "web4", "web-1")?["advisor"]["probes"].clone();
    ensure!(probes["success"] == 0 && probes["failure"] == 0, "{probes}");
    for vip in VIPS {
        let got = lab.client().quick_requests(vip, 20)?;
        assert_eq!(got, tally([("web-1", 10), ("web-2", 10)]), "{vip}");
    }
    assert_eq!(daemon.stop()?, Some(0));
    nothing_left(&lab)
}

#[test]
fn the_units_capabilities_attach_forward_reload_take_over_and_detach() -> Result<()> {
    let Some(lab) = lab(&Plan::new("caps").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let capabilities = capabilities()?;
    let capabilities: Vec<_> = capabilities.iter().map(String::as_str).collect();
    let services = |weights: &[u32]| advised(&web_services(&lab, weights));
    let mut daemon = lab.daemon(&services(&[1, 1]))?;
    daemon.launch_confined(&capabilities, &[])?;
    daemon.wait_ready()?;
    probed(&daemon, "success")?;
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
    daemon.write(&(lab.general(&["eth0"]) + &services(&[3, 1])))?;
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

/// A missing capability is named with its purpose, before anything is done, and without the verifier's output.
#[test]
fn each_missing_capability_is_named() -> Result<()> {
    let Some(lab) = lab(&Plan::new("lacks").backends(1))? else { return Ok(()) };
    let mut daemon = lab.daemon(&advised(&web_services(&lab, &[1])))?;
    let all = capabilities()?;
    for missing in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON"] {
        // CAP_SYS_ADMIN would replace two of them.
        let held = all.iter().map(String::as_str);
        let held: Vec<_> = held.filter(|c| *c != missing && *c != "CAP_SYS_ADMIN").collect();
        let before = daemon.log().len();
        daemon.launch_confined(&held, &[])?;
        assert_eq!(daemon.process()?.wait(Duration::from_secs(10))?, Some(1), "{missing}");
        let log = daemon.log()[before..].to_owned();
        let error = format!("capability {missing} is missing: it is needed to ");
        ensure!(log.contains(&error) && log.contains("hint: "), "{missing}: {log}");
        ensure!(log.contains(&format!("AmbientCapabilities={missing} in")), "{missing}: {log}");
        ensure!(!log.contains("erifier output") && log.lines().count() <= 3, "{missing}: {log}");
        ensure!(!lab.pin_dir().exists(), "{missing}: something was done");
    }
    // Root of a user namespace has all of them, but none is effective.
    let confined = lab.lb.output(&format!(
        "unshare --user --map-root-user {} run -c {}",
        dispatcher_lab::binary()?.display(),
        daemon.config().display()
    ))?;
    let said = String::from_utf8_lossy(&confined.stderr).into_owned();
    ensure!(said.contains("CAP_BPF") && said.contains("user namespace"), "{said}");
    Ok(())
}
