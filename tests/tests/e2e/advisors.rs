//! Advisors: backends that are down get no new connections until they are up again.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, Process, Tally, eventually};

use crate::common::{
    VIPS, all_up, backend_of, lab, publish, service_of, state_contains, tally, web, web_services,
};

/// A laboratory with web servers, and services that probe them twice a second.
struct Advised {
    // Dropped in this order.
    daemon: Daemon,
    servers: Vec<Process>,
    lab: Lab,
}

fn start(name: &str, advisor: &str, backends: u8) -> Result<Option<Advised>> {
    let Some(lab) = lab(&Plan::new(name).backends(backends))? else { return Ok(None) };
    let servers = lab.serve_web()?;
    let services = web_services(&lab, &vec![1; usize::from(backends)]);
    let advisor = format!(
        "protocol = \"tcp\"\nadvisor = {{ target = \"address\", interval = \"500ms\", {advisor} }}\n"
    );
    let mut daemon = lab.daemon(&services.replace("protocol = \"tcp\"\n", &advisor))?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(Some(Advised { daemon, servers, lab }))
}

impl Advised {
    fn requests(&self, vip: IpAddr, number: u32) -> Result<Tally> {
        self.lab.client().quick_requests(vip, number)
    }

    /// Waits until the backend is down or up in both services, for this reason.
    fn becomes(&self, backend: &str, text: &str) -> Result<()> {
        for vip in VIPS {
            state_contains(&self.daemon, web(vip), backend, text, 5)?;
        }
        Ok(())
    }
}

#[test]
fn a_backend_that_dies_gets_nothing_new_until_it_is_back() -> Result<()> {
    let Some(mut lab) = start("dies", "kind = \"http\", path = \"/\"", 3)? else { return Ok(()) };
    let report = lab.daemon.json("advisor report")?;
    ensure!(report.as_array().is_some_and(|rows| rows.len() == 6), "{report}");
    lab.servers[1].kill();
    lab.becomes("web-2", "down: http")?;
    for vip in VIPS {
        assert_eq!(lab.requests(vip, 40)?, tally([("web-1", 20), ("web-3", 20)]), "{vip}");
        let up = lab.daemon.metric(
            "dispatcher_backend_up",
            &[&format!("service=\"{}\"", web(vip)), "backend=\"web-2\""],
        )?;
        assert_eq!(up, 0.0);
    }
    // A backend that is known to be down is also down for the next controller before its first probe.
    lab.daemon.kill();
    lab.daemon.start()?;
    ensure!(backend_of(&lab.daemon, "web4", "web-2")?["up"] == false);
    lab.servers[1] = lab.lab.backends[1].serve_web()?;
    lab.becomes("web-2", "\"up\"")?;
    for vip in VIPS {
        let served = lab.requests(vip, 30)?;
        assert_eq!(served, tally([("web-1", 10), ("web-2", 10), ("web-3", 10)]), "{vip}");
    }
    Ok(())
}

#[test]
fn an_answer_must_be_the_one_that_is_expected() -> Result<()> {
    let advisor = "kind = \"http\", path = \"/files/health\", expect_body = \"fine\", fall = 2";
    let Some(lab) = lab(&Plan::new("expected").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    publish(&lab, "health", b"all is fine here")?;
    let services = web_services(&lab, &[1, 1]);
    let line = format!(
        "protocol = \"tcp\"\nadvisor = {{ target = \"address\", interval = \"300ms\", {advisor} }}\n"
    );
    let mut daemon = lab.daemon(&services.replace("protocol = \"tcp\"\n", &line))?;
    daemon.start()?;
    all_up(&daemon)?;
    let health = lab.backends[0].directory().join("files/health");
    std::fs::write(&health, b"not at all")?;
    state_contains(&daemon, "web4", "web-1", "down: http the body lacks", 5)?;
    std::fs::remove_file(&health)?;
    eventually(Duration::from_secs(5), "another error", || {
        let advisor = backend_of(&daemon, "web4", "web-1")?["advisor"].clone();
        Ok(advisor["last_error"] == "status 404, expected 200-399")
    })?;
    assert_eq!(lab.client().quick_requests(VIPS[0], 10)?, tally([("web-2", 10)]));
    // A reload that removes the advisor also removes its result.
    daemon.edit(&line, "protocol = \"tcp\"\n")?;
    daemon.ok("reload")?;
    assert_eq!(lab.client().quick_requests(VIPS[0], 10)?, tally([("web-1", 5), ("web-2", 5)]));
    Ok(())
}

#[test]
fn with_all_backends_down_they_are_tried_in_turn() -> Result<()> {
    let Some(mut lab) = start("alldown", "kind = \"connect\", port = 80", 2)? else {
        return Ok(());
    };
    for server in &mut lab.servers {
        server.kill();
    }
    lab.becomes("web-1", "down: connect")?;
    lab.becomes("web-2", "down: connect")?;
    let before = service_of(&lab.daemon, "web4")?["connections"].as_u64().context("connections")?;
    // Nobody listens, but packets get there: the client is refused at once instead of waiting.
    let served = lab.requests(VIPS[0], 4)?;
    let after = service_of(&lab.daemon, "web4")?["connections"].as_u64().context("connections")?;
    ensure!(after - before == 4, "{served:?}: {} connections", after - before);
    lab.servers[0] = lab.lab.backends[0].serve_web()?;
    lab.becomes("web-1", "\"up\"")?;
    assert_eq!(lab.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
    Ok(())
}
