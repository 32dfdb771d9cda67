//! Probes of the VIP: each backend is asked as clients ask it, and clients do not notice.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use dispatcher_lab::{Daemon, Lab, Plan, Process, Tally, VIP4, VIP6, eventually, undisturbed};

use crate::{
    common::{
        VIPS, all_up, backend_metric, backend_of, lab, service_of, state_contains, tally, web,
        web_services,
    },
    detach::nothing_left,
};

/// Web servers, and services that probe the VIP, which is the default.
struct Probed {
    // Dropped in this order.
    daemon: Daemon,
    servers: Vec<Process>,
    lab: Lab,
}

/// Often enough to disturb traffic if they could.
const INTERVAL: &str = "300ms";
/// A stall that may make a probe fail if several coincide: it has 500 ms.
const STALL: Duration = Duration::from_millis(100);

fn advised(services: &str, advisor: &str) -> String {
    let lines = format!("protocol = \"tcp\"\nadvisor = {{ {advisor} }}\n");
    services.replace("protocol = \"tcp\"\n", &lines)
}

fn http() -> String {
    format!("kind = \"http\", interval = \"{INTERVAL}\", connect_timeout = \"500ms\"")
}

fn start(plan: &Plan, nics: &[&str], general: &str) -> Result<Option<Probed>> {
    let Some(lab) = lab(plan)? else { return Ok(None) };
    let servers = lab.serve_web()?;
    let mut daemon = lab.daemon("")?;
    let services = web_services(&lab, &vec![1; lab.backends.len()]);
    daemon.write(&(general.to_owned() + &lab.general(nics) + &advised(&services, &http())))?;
    daemon.start()?;
    let probed = Probed { daemon, servers, lab };
    probed.probes(3)?;
    all_up(&probed.daemon)?;
    Ok(Some(probed))
}

impl Probed {
    fn requests(&self, vip: std::net::IpAddr, number: u32) -> Result<Tally> {
        self.lab.client().quick_requests(vip, number)
    }

    /// Waits for this many more good probes of every backend.
    fn probes(&self, more: u64) -> Result<()> {
        for vip in VIPS {
            for backend in &self.lab.backends {
                let good = || good_probes(&self.daemon, web(vip), backend.name());
                let before = good()?;
                let what = format!("good probes of {} by {vip}", backend.name());
                eventually(Duration::from_secs(10), &what, || Ok(good()? >= before + more))
                    .with_context(|| {
                        backend_of(&self.daemon, web(vip), backend.name())
                            .map_or_else(|e| e.to_string(), |b| b.to_string())
                    })?;
            }
        }
        Ok(())
    }
}

fn good_probes(daemon: &Daemon, service: &str, backend: &str) -> Result<u64> {
    let advisor = backend_of(daemon, service, backend)?["advisor"].clone();
    advisor["probes"]["success"].as_u64().with_context(|| format!("probes in {advisor}"))
}

/// No backend has failed a probe.
fn none_failed(daemon: &Daemon) -> Result<()> {
    for vip in VIPS {
        for backend in service_of(daemon, web(vip))?["backends"].as_array().context("backends")? {
            let failures = &backend["advisor"]["probes"]["failure"];
            ensure!(failures == 0, "{backend}\n{}", daemon.log());
        }
    }
    Ok(())
}

#[test]
fn clients_notice_nothing() -> Result<()> {
    undisturbed(STALL, || {
        let Some(probed) = start(&Plan::new("vipprobe").backends(3), &["eth0"], "")? else {
            return Ok(());
        };
        for vip in VIPS {
            let served = probed.requests(vip, 60)?;
            assert_eq!(served, tally([("web-1", 20), ("web-2", 20), ("web-3", 20)]), "{vip}");
        }
        probed.probes(3)?;
        none_failed(&probed.daemon)?;
        // Only the clients' connections were counted, and no other is in the table.
        for vip in VIPS {
            assert_eq!(service_of(&probed.daemon, web(vip))?["connections"], 60, "{vip}");
            for backend in &probed.lab.backends {
                let counted =
                    backend_metric(&probed.daemon, "connections_total", web(vip), backend.name())?;
                assert_eq!(counted, 20.0);
            }
        }
        let connections = probed.daemon.json("connections --limit 1000")?;
        let own = [probed.lab.lb.v4().to_string(), probed.lab.lb.v6().to_string()];
        for connection in connections
            .as_array()
            .or(connections["connections"].as_array())
            .context("connections")?
        {
            let client = connection["client"].to_string();
            ensure!(
                !own.iter().any(|own| client.contains(&format!("{own}:"))
                    || client.contains(&format!("[{own}]"))),
                "{connection}"
            );
        }
        // Probes add no route to the host.
        for family in ["-4", "-6"] {
            let routes = probed.lab.lb.ip(&format!("{family} route show table all"))?;
            ensure!(!routes.contains("dsp-probe"), "{routes}");
        }
        Ok(())
    })
}

#[test]
fn a_backend_that_loses_the_vip_is_down_and_says_why() -> Result<()> {
    undisturbed(STALL, || {
        let Some(probed) = start(&Plan::new("novip").backends(3), &["eth0"], "")? else {
            return Ok(());
        };
        let backend = &probed.lab.backends[1];
        for (vip, prefix, own) in [
            (VIPS[0], 32, format!("{}:80", backend.v4())),
            (VIPS[1], 128, format!("[{}]:80", backend.v6())),
        ] {
            let began = Instant::now();
            backend.ip(&format!("addr del {vip}/{prefix} dev lo"))?;
            let reason = format!(
                "no connection within 500ms, though {own} answers: is the VIP on its loopback?"
            );
            state_contains(&probed.daemon, web(vip), "web-2", &reason, 5)?;
            let took = began.elapsed();
            // Interval plus a tenth, timeout, and some time to ask.
            ensure!(took < Duration::from_millis(330 + 500 + 400), "{vip}: down after {took:?}");
            let served = probed.requests(vip, 40)?;
            assert_eq!(served, tally([("web-1", 20), ("web-3", 20)]), "{vip}");
        }
        backend.ip(&format!("addr add {VIP4}/32 dev lo"))?;
        backend.ip(&format!("addr add {VIP6}/128 dev lo nodad"))?;
        for vip in VIPS {
            state_contains(&probed.daemon, web(vip), "web-2", "\"up\"", 5)?;
            let served = probed.requests(vip, 30)?;
            assert_eq!(served, tally([("web-1", 10), ("web-2", 10), ("web-3", 10)]), "{vip}");
        }
        Ok(())
    })
}

#[test]
fn a_backend_that_dies_says_so() -> Result<()> {
    let Some(mut probed) = start(&Plan::new("vipdies").backends(2), &["eth0"], "")? else {
        return Ok(());
    };
    probed.servers[1].kill();
    for vip in VIPS {
        let state = state_contains(&probed.daemon, web(vip), "web-2", "connection refused", 5)?;
        ensure!(!state.contains("though"), "{state}");
        assert_eq!(probed.requests(vip, 10)?, tally([("web-1", 10)]));
    }
    probed.servers[1] = probed.lab.backends[1].serve_web()?;
    for vip in VIPS {
        state_contains(&probed.daemon, web(vip), "web-2", "\"up\"", 5)?;
    }
    Ok(())
}

/// A backend without the VIP that forwards returns the probe to the dispatcher: no other backend must answer it.
#[test]
fn a_backend_that_forwards_is_found_out_all_the_same() -> Result<()> {
    let Some(probed) = start(&Plan::new("vipforw").backends(2), &["eth0"], "")? else {
        return Ok(());
    };
    let backend = &probed.lab.backends[1];
    backend.sysctl("net.ipv4.ip_forward", "1")?;
    backend.ip(&format!("addr del {VIP4}/32 dev lo"))?;
    let state = state_contains(&probed.daemon, "web4", "web-2", "down: http", 5)?;
    ensure!(state.contains("is the VIP on its loopback?"), "{state}");
    std::thread::sleep(Duration::from_secs(1));
    state_contains(&probed.daemon, "web4", "web-2", "down: http", 0)?;
    Ok(())
}

#[test]
fn backends_that_take_nothing_are_probed_all_the_same() -> Result<()> {
    undisturbed(STALL, || {
        let Some(probed) = start(&Plan::new("vipidle").backends(4), &["eth0"], "")? else {
            return Ok(());
        };
        probed.daemon.ok("weight web4 web-2 0")?;
        probed.daemon.ok("down web4 web-3")?;
        probed.daemon.ok("quiesce web4 web-4")?;
        probed.probes(3)?;
        none_failed(&probed.daemon)?;
        assert_eq!(probed.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
        Ok(())
    })
}

#[test]
fn backends_behind_another_nic_are_probed_there() -> Result<()> {
    undisturbed(STALL, || {
        let plan = Plan::new("vipfar").backends(1).far_backends(2);
        let Some(probed) = start(&plan, &["eth0", "eth1"], "")? else { return Ok(()) };
        none_failed(&probed.daemon)?;
        let far = &probed.lab.backends[2];
        far.ip(&format!("addr del {VIP4}/32 dev lo"))?;
        state_contains(&probed.daemon, "web4", "far-2", "is the VIP on its loopback?", 5)?;
        // The NIC disappears and returns.
        far.ip(&format!("addr add {VIP4}/32 dev lo"))?;
        probed.lab.lb.ip("link del eth1")?;
        state_contains(&probed.daemon, "web4", "far-1", "no mac", 10)?;
        probed.lab.plug(&probed.lab.lb, "eth1", 1)?;
        all_up(&probed.daemon)?;
        probed.probes(3)
    })
}

#[test]
fn reverse_path_filters_of_the_host_are_no_matter() -> Result<()> {
    undisturbed(STALL, || {
        let Some(lab) = lab(&Plan::new("viprpf").backends(2))? else { return Ok(()) };
        for nic in ["all", "default", "eth0"] {
            lab.lb.sysctl(&format!("net.ipv4.conf.{nic}.rp_filter"), "1")?;
        }
        let servers = lab.serve_web()?;
        let mut daemon = lab.daemon(&advised(&web_services(&lab, &[1, 1]), &http()))?;
        daemon.start()?;
        let probed = Probed { daemon, servers, lab };
        probed.probes(3)?;
        none_failed(&probed.daemon)?;
        for vip in VIPS {
            assert_eq!(probed.requests(vip, 10)?, tally([("web-1", 5), ("web-2", 5)]));
        }
        for nic in ["all", "default", "eth0"] {
            let line =
                probed.lab.lb.run(&format!("cat /proc/sys/net/ipv4/conf/{nic}/rp_filter"))?;
            assert_eq!(line.trim(), "1", "{nic}");
        }
        Ok(())
    })
}

#[test]
fn generic_mode_is_no_different() -> Result<()> {
    undisturbed(STALL, || {
        let plan = Plan::new("vipgen").backends(2);
        let Some(probed) = start(&plan, &["eth0"], "xdp_mode = \"generic\"\n")? else {
            return Ok(());
        };
        none_failed(&probed.daemon)?;
        probed.lab.backends[0].ip(&format!("addr del {VIP4}/32 dev lo"))?;
        state_contains(&probed.daemon, "web4", "web-1", "is the VIP on its loopback?", 5)?;
        assert_eq!(probed.requests(VIPS[0], 10)?, tally([("web-2", 10)]));
        Ok(())
    })
}

/// What is left of the probes' path on the dispatcher's host.
fn left(lab: &Lab) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let links = lab.lb.ip("-o link show")?;
    left.extend(links.lines().filter(|line| line.contains("dsp-probe")).map(str::to_owned));
    let queues = lab.lb.run("tc qdisc show dev eth0")?;
    left.extend(queues.lines().filter(|line| line.contains("clsact")).map(str::to_owned));
    // TCX links, which `tc` does not show.
    let (_, programs) =
        lab.lb.enter(|| Ok(SchedClassifier::query_tcx("eth0", TcAttachType::Ingress)?))?;
    left.extend(programs.iter().map(|program| format!("program {}", program.id())));
    Ok(left)
}

fn nothing_is_left(lab: &Lab) -> Result<()> {
    // The kernel removes a namespace asynchronously.
    eventually(
        Duration::from_secs(5),
        "the way for probes to be gone",
        || Ok(left(lab)?.is_empty()),
    )
    .with_context(|| format!("left: {:?}", left(lab)))
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way_of_the_next() -> Result<()> {
    undisturbed(STALL, || {
        let Some(mut probed) = start(&Plan::new("vipkill").backends(2), &["eth0"], "")? else {
            return Ok(());
        };
        assert_eq!(left(&probed.lab)?.len(), 2, "{:?}", left(&probed.lab)?);
        for _ in 0..3 {
            probed.daemon.kill();
            probed.daemon.start()?;
            probed.probes(2)?;
            none_failed(&probed.daemon)?;
        }
        probed.daemon.kill();
        nothing_is_left(&probed.lab)?;
        let pins = probed.lab.pin_dir().display().to_string();
        probed.daemon.ok(&format!("detach --all --pin-dir {pins}"))?;
        nothing_left(&probed.lab)?;
        probed.daemon.start()?;
        all_up(&probed.daemon)?;
        probed.probes(2)?;
        // Without an advisor that probes the VIP there is no path to it.
        probed.daemon.edit("kind = \"http\"", "kind = \"http\", target = \"address\"")?;
        probed.daemon.ok("reload")?;
        nothing_is_left(&probed.lab)?;
        probed.daemon.edit("target = \"address\"", "target = \"vip\"")?;
        probed.daemon.ok("reload")?;
        probed.probes(2)?;
        assert_eq!(probed.daemon.stop()?, Some(0));
        nothing_is_left(&probed.lab)?;
        nothing_left(&probed.lab)
    })
}
