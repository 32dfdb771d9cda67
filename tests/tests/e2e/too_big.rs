//! Packets that exceed the MTU of the NIC that leads to a backend, and NICs that refuse redirected packets.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Node, Plan, eventually, url};

use crate::common::{VIPS, all_up, lab, noise, reason, web_services};

/// A client and the dispatcher on a segment of jumbo frames, and a backend behind another NIC, which also assumes jumbo
/// frames.
fn start(name: &str) -> Result<Option<(Daemon, Vec<dispatcher_lab::Process>, Lab)>> {
    let Some(lab) = lab(&Plan::new(name).backends(0).far_backends(1))? else { return Ok(None) };
    let servers = lab.serve_web()?;
    for node in [&lab.lb, lab.client(), &lab.backends[0]] {
        lab.switch.ip(&format!("link set {} mtu 3000", lab.port(node, "eth0")))?;
        node.ip("link set eth0 mtu 3000")?;
    }
    lab.switch.ip("link set br0 mtu 3000")?;
    let mut daemon = lab.daemon("")?;
    daemon.write(&(lab.general(&["eth0", "eth1"]) + &web_services(&lab, &[1])))?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(Some((daemon, servers, lab)))
}

/// Sends a file to the server, and checks that it has arrived.
fn upload(client: &Node, server: &Node, vip: IpAddr) -> Result<()> {
    let file = noise(200_000);
    fs::write(client.directory().join("body"), &file)?;
    let body = client.directory().join("body");
    let line = format!(
        "curl -s -o /dev/null -w %{{http_code}} --max-time 10 -H Expect: -T {} {}",
        body.display(),
        url(vip, "/files/up")
    );
    let code = client.run(&line)?;
    ensure!(["201", "204"].contains(&code.trim()), "{vip}: status {code}");
    ensure!(fs::read(server.directory().join("files/up"))? == file, "{vip}: the file differs");
    Ok(())
}

#[test]
fn a_sender_learns_the_mtu_of_the_nic_behind() -> Result<()> {
    let Some((daemon, _servers, lab)) = start("toobig")? else { return Ok(()) };
    let client = lab.client();
    for mtu in [1500, 1400] {
        // A changed MTU is followed while the daemon runs.
        lab.lb.ip(&format!("link set eth1 mtu {mtu}"))?;
        for vip in VIPS {
            let path = || client.ip(&format!("route get {vip}"));
            eventually(Duration::from_secs(10), &format!("a path mtu of {mtu} to {vip}"), || {
                upload(client, &lab.backends[0], vip)?;
                Ok(path()?.contains(&format!("mtu {mtu}")))
            })
            .with_context(|| path().unwrap_or_default())?;
        }
    }
    ensure!(reason(&daemon, "tx", "too_big") >= 4.0, "{}", daemon.metrics()?);
    Ok(())
}

#[test]
fn a_nic_that_refuses_what_is_redirected_is_named() -> Result<()> {
    // The kernel reports it by tracepoints, which need this file system.
    if !Path::new("/sys/kernel/tracing/events").exists() {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tracefs", "tracefs", "/sys/kernel/tracing"])
            .status()?;
        ensure!(mounted.success(), "mount tracefs: {mounted}");
    }
    let Some((daemon, _servers, lab)) = start("refuses")? else { return Ok(()) };
    // The peer of the veth runs no XDP program any more, so it receives no redirected packets.
    let port = lab.port(&lab.lb, "eth1");
    lab.switch.ip(&format!("link set {port} xdp off"))?;
    eventually(Duration::from_secs(10), "a note about eth1", || {
        let line = format!("curl -s -o /dev/null --max-time 1 {}", url(VIPS[0], "/"));
        lab.client().output(&line)?;
        let status = daemon.json("status")?;
        let eth1 = status["interfaces"]
            .as_array()
            .and_then(|all| all.iter().find(|i| i["name"] == "eth1"));
        let note = eth1.context("eth1")?["note"].to_string();
        Ok(note.contains("refuses redirected packets") && note.contains("XDP program"))
    })
    .with_context(|| daemon.log())?;
    let labels = ["interface=\"eth0\"", "to=\"eth1\""];
    let refused = daemon.metric("dispatcher_redirects_refused_total", &labels)?;
    let forwarded = reason(&daemon, "redirect", "forwarded");
    ensure!(refused >= 1.0 && refused <= forwarded, "{refused} of {forwarded}");
    Ok(())
}
