//! Events: curl listens while weights, backends, advisors and files change.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, Process, until};
use serde_json::Value;

use crate::common::{VIPS, Web, address_of, all_up, lab, state_contains, web_services};

/// curl, reading the stream.
struct Listener {
    curl: Process,
    /// Events that were read.
    seen: usize,
}

impl Listener {
    fn start(lab: &Lab, log: &str, query: &str) -> Result<Self> {
        let socket = lab.directory().join("api.sock");
        let url = format!("http://dispatcher/v1/events{query}");
        let line = format!("curl -sSN -D - --unix-socket {} {url}", socket.display());
        let curl = lab.lb.spawn(log, &line)?;
        until(Duration::from_secs(5), "head of the stream", || {
            Ok(curl.log().contains("text/event-stream").then_some(()))
        })?;
        Ok(Self { curl, seen: 0 })
    }

    /// All events so far.
    fn all(&self) -> Result<Vec<Value>> {
        let log = self.curl.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|data| serde_json::from_str(data).context("data")).collect()
    }

    /// The next event that is not a progress report of quiesce.
    fn next(&mut self) -> Result<Value> {
        loop {
            let event =
                until(Duration::from_secs(8), "event", || Ok(self.all()?.get(self.seen).cloned()))
                    .with_context(|| self.curl.log())?;
            self.seen += 1;
            if event["event"] != "quiesce_progress" {
                return Ok(event);
            }
        }
    }

    /// Requires that the next event has this word and these fields.
    #[track_caller]
    fn expect(&mut self, word: &str, fields: &[(&str, Value)]) -> Result<()> {
        let event = self.next()?;
        let same = event["event"] == word && fields.iter().all(|(k, v)| event[*k] == *v);
        ensure!(same, "expected {word} {fields:?}, got {event}");
        Ok(())
    }
}

fn of(backend: &str) -> [(&'static str, Value); 2] {
    [("service", "web4".into()), ("backend", backend.into())]
}

fn with<'a>(backend: &str, fields: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    of(backend).into_iter().chain(fields.iter().cloned()).collect()
}

/// Number of log lines with this ending.
fn logged(daemon: &Daemon, end: &str) -> usize {
    daemon.log().lines().filter(|line| line.ends_with(end)).count()
}

#[test]
fn what_is_done_by_hand_and_by_the_file_is_told() -> Result<()> {
    let Some(web) = Web::start("events", &[10, 10])? else { return Ok(()) };
    let daemon = &web.daemon;
    let mut of_web4 = Listener::start(&web.lab, "web4", "?service=web4")?;
    let mut all = Listener::start(&web.lab, "all", "")?;

    daemon.ok("weight web6 web-1 7")?;
    daemon.ok("weight web4 web-1 3")?;
    let change = |from: u32, to: u32, by: &str| {
        with("web-1", &[("from", from.into()), ("to", to.into()), ("by", by.into())])
    };
    of_web4.expect("weight_changed", &change(10, 3, "hand"))?;
    daemon.ok("quiesce web4 web-2 --now")?;
    of_web4.expect("quiesced", &with("web-2", &[("now", true.into())]))?;
    daemon.ok("unquiesce web4 web-2")?;
    of_web4.expect("unquiesced", &of("web-2"))?;
    let down = with(
        "web-1",
        &[
            ("reason", "down by hand".into()),
            ("address", address_of(&web.lab.backends[0], VIPS[0]).to_string().into()),
        ],
    );
    daemon.ok("down web4 web-1")?;
    of_web4.expect("server_down", &down)?;
    daemon.ok("down web4 web-2")?;
    of_web4.expect("server_down", &of("web-2"))?;
    of_web4.expect("manager_alert", &[("service", "web4".into())])?;
    daemon.ok("up web4 web-1")?;
    of_web4.expect("server_up", &down)?;
    of_web4.expect("manager_clear", &[("service", "web4".into())])?;
    daemon.ok("up web4 web-2")?;
    of_web4.expect("server_up", &of("web-2"))?;
    assert_eq!(logged(daemon, "service web4: no backend is up"), 1);
    assert_eq!(logged(daemon, "backend web4/web-1: gets no new connections: down by hand"), 1);

    daemon.edit("weight = 10", "weight = 11")?;
    daemon.ok("reload")?;
    of_web4.expect("weight_changed", &change(3, 11, "file"))?;
    of_web4.expect("weight_changed", &of("web-2"))?;
    daemon.ok("backend add web4 spare --address 10.9.9.9 --weight 1")?;
    of_web4.expect("backend_added", &of("spare"))?;
    of_web4.expect("server_down", &of("spare"))?;
    daemon.ok("backend remove web4 spare")?;
    of_web4.expect("backend_removed", &of("spare"))?;
    daemon.ok("service remove web4")?;
    of_web4.expect("service_removed", &[("service", "web4".into())])?;

    // A listener without a filter gets the same and more; ids grow.
    all.expect("weight_changed", &[("service", "web6".into())])?;
    let told = until(Duration::from_secs(5), "last event", || {
        let told = all.all()?;
        Ok(told.iter().any(|e| e["event"] == "service_removed").then_some(told))
    })?;
    ensure!(told.iter().any(|e| e["event"] == "reloaded" && e["changes"] == 4), "{told:?}");
    let ids: Vec<_> = told.iter().filter_map(|e| e["id"].as_u64()).collect();
    ensure!(ids.len() == told.len() && ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    ensure!(!told.iter().any(|e| e["event"] == "missed"));
    Ok(())
}

#[test]
fn advisors_and_neighbours_are_told_and_a_takeover_tells_nothing_again() -> Result<()> {
    let Some(lab) = lab(&Plan::new("evadvice").backends(2))? else { return Ok(()) };
    let mut servers = lab.serve_web()?;
    let advisor = "protocol = \"tcp\"\nadvisor = { kind = \"http\", target = \"address\", interval = \"300ms\" }\n";
    let services = web_services(&lab, &[1, 1]).replace("protocol = \"tcp\"\n", advisor);
    let mut daemon = lab.daemon(&services)?;
    daemon.start()?;
    all_up(&daemon)?;
    let mut events = Listener::start(&lab, "before", "?service=web4")?;
    servers[1].kill();
    let down = events.next()?;
    ensure!(down["event"] == "server_down" && down["backend"] == "web-2", "{down}");
    ensure!(down["reason"].as_str().is_some_and(|r| r.starts_with("down: http")), "{down}");

    // The daemon dies: the stream ends, and the next daemon has no news about this backend.
    daemon.kill();
    ensure!(events.curl.wait(Duration::from_secs(5))?.is_some(), "curl did not end");
    daemon.start()?;
    let mut events = Listener::start(&lab, "after", "?service=web4")?;
    let former = daemon.log();
    servers[1] = lab.backends[1].serve_web()?;
    events.expect("server_up", &of("web-2"))?;
    assert_eq!(events.all()?.len(), 1);
    ensure!(!former.contains("no backend is up"), "{former}");

    let mut all = Listener::start(&lab, "neighbours", "")?;
    let before = all.all()?.len();
    lab.backends[0].ip("link set eth0 address 02:00:00:00:77:01")?;
    let address = address_of(&lab.backends[0], VIPS[0]).to_string();
    let changed = until(Duration::from_secs(20), "changed neighbour", || {
        let told = all.all()?;
        let is_it =
            |e: &&Value| e["event"] == "neighbour_changed" && e["address"] == address.as_str();
        Ok(told[before..].iter().find(is_it).cloned())
    })?;
    ensure!(changed["mac"] == "02:00:00:00:77:01" || changed["reason"].is_string(), "{changed}");
    state_contains(&daemon, "web4", "web-1", "\"up\"", 20)?;

    // The daemon stops in order, and so does the stream.
    daemon.stop()?;
    assert_eq!(all.curl.wait(Duration::from_secs(5))?, Some(0), "{}", all.curl.log());
    Ok(())
}
