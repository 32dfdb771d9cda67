//! Rules: client address, time of day, rates and counts decide which backends a new connection may use.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, Process, VIP4, eventually};
use serde_json::Value;

use crate::common::{address_of, all_up, backend, lab, publish, service, service_of, tally};

/// Two clients, three web servers, and the service `web` with these rules.
struct Ruled {
    // Dropped in this order.
    daemon: Daemon,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Ruled {
    /// `None`: skipped.
    fn start(name: &str, keys: &str, rules: &str) -> Result<Option<Self>> {
        let Some(lab) = lab(&Plan::new(name).clients(2))? else { return Ok(None) };
        let _servers = lab.serve_web()?;
        let head = service("web", VIP4.into(), 80, "tcp");
        let mut text = format!("{}\nscheduler = \"rr\"\n{keys}\n\n", head.trim_end());
        for node in &lab.backends {
            text += &backend(node.name(), address_of(node, VIP4.into()), 1);
        }
        let mut daemon = lab.daemon(&(text + rules))?;
        daemon.start()?;
        all_up(&daemon)?;
        Ok(Some(Self { daemon, _servers, lab }))
    }

    /// Which backends answer this many connections of a client.
    fn answers(&self, client: usize, number: u32) -> Result<dispatcher_lab::Tally> {
        self.lab.clients[client].quick_requests(VIP4.into(), number)
    }

    /// The entry of a rule in `services`.
    fn rule(&self, name: &str) -> Result<Value> {
        let web = service_of(&self.daemon, "web")?;
        let rules = web["rules"].as_array().context("rules")?;
        let rule = rules.iter().find(|rule| rule["name"] == name);
        rule.cloned().with_context(|| format!("rule {name} is not in {web}"))
    }

    /// Waits until a rule is active or not.
    fn until(&self, name: &str, holds: bool) -> Result<()> {
        eventually(Duration::from_secs(10), &format!("rule {name} to be {holds}"), || {
            Ok(self.rule(name)?["active"] == holds)
        })
    }
}

/// A rule with these conditions for these backends.
fn rule(name: &str, priority: u32, conditions: &str, backends: &[&str]) -> String {
    format!(
        "[[service.rule]]\nname = \"{name}\"\npriority = {priority}\nbackends = {backends:?}\n{conditions}\n\n"
    )
}

#[test]
fn a_client_has_the_backends_of_its_rule_and_a_reload_moves_it_without_a_failed_request()
-> Result<()> {
    let Some(plan) = lab(&Plan::new("rulesaddr").clients(2))? else { return Ok(()) };
    let first = plan.clients[0].v4();
    drop(plan);
    let office = rule("office", 10, &format!("clients = [\"{first}\"]"), &["web-3"]);
    let rest = rule("rest", 20, "always = true", &["web-1", "web-2"]);
    let Some(lab) = Ruled::start("rules", "", &(rest + &office))? else { return Ok(()) };
    assert_eq!(lab.answers(0, 10)?, tally([("web-3", 10)]));
    assert_eq!(lab.answers(1, 10)?, tally([("web-1", 5), ("web-2", 5)]));
    assert_eq!(lab.rule("office")?["connections"], 10);
    assert_eq!(lab.rule("rest")?["connections"], 10);
    // A backend that a rule names cannot be removed; if it accepts no connections, its rule is skipped.
    let refused = lab.daemon.cli(["backend", "remove", "web", "web-3"])?;
    assert_eq!(refused.status, 1, "{}", refused.err);
    assert!(refused.err.contains("is named by rule office"), "{}", refused.err);
    lab.daemon.ok("quiesce web web-3")?;
    assert_eq!(lab.answers(0, 10)?, tally([("web-1", 5), ("web-2", 5)]));
    lab.daemon.ok("unquiesce web web-3")?;
    // A change by hand leaves rules alone.
    lab.daemon.ok("service set web --scheduler wrr")?;
    assert_eq!(lab.answers(0, 4)?, tally([("web-3", 4)]));
    // The rule changes while its client continues.
    let (from, to) = ("backends = [\"web-3\"]", "backends = [\"web-1\"]");
    lab.daemon.edit(from, to)?;
    let plan = lab.daemon.ok("plan")?;
    assert!(plan.contains("rule web/office") && plan.contains("web-1"), "{plan}");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| lab.answers(0, 400));
        for (from, to) in [("web-3", "web-1"), ("web-1", "web-3"), ("web-3", "web-1")] {
            std::thread::sleep(Duration::from_millis(100));
            lab.daemon.ok("reload")?;
            lab.daemon.edit(&format!("[\"{to}\"]"), &format!("[\"{from}\"]"))?;
        }
        let answers = asking.join().map_err(|_| anyhow::anyhow!("the client's thread ended"))??;
        let answered: u32 = answers.values().sum();
        ensure!(answered == 400, "{answers:?}: not all were answered");
        ensure!(!answers.contains_key("web-2"), "{answers:?}: web-2 is no backend of the rule");
        Ok(())
    })?;
    assert_eq!(lab.answers(0, 5)?, tally([("web-1", 5)]));
    // Without rules all backends take part again.
    let text = std::fs::read_to_string(lab.daemon.config())?;
    lab.daemon.write(text.split("[[service.rule]]").next().unwrap_or_default())?;
    lab.daemon.ok("reload")?;
    assert_eq!(lab.answers(0, 9)?, tally([("web-1", 3), ("web-2", 3), ("web-3", 3)]));
    Ok(())
}

#[test]
fn rules_survive_the_controller() -> Result<()> {
    let always = rule("all", 1, "always = true", &["web-2", "web-3"]);
    let Some(mut lab) = Ruled::start("ruleskill", "", &always)? else { return Ok(()) };
    assert_eq!(lab.answers(0, 3)?, tally([("web-2", 2), ("web-3", 1)]));
    lab.daemon.kill();
    assert_eq!(lab.answers(0, 2)?, tally([("web-3", 1), ("web-2", 1)]));
    lab.daemon.start()?;
    assert_eq!(lab.rule("all")?["connections"], 5, "its count and its turn go on");
    assert_eq!(lab.answers(1, 1)?, tally([("web-3", 1)]));
    Ok(())
}

#[test]
fn a_time_of_day_switches_a_rule() -> Result<()> {
    let Some(lab) = Ruled::start("rulestime", "", "")? else { return Ok(()) };
    // By the clock of this host, which the daemon reads.
    let clock = |seconds: i64| {
        let out = std::process::Command::new("date")
            .args(["-d", &format!("{seconds:+} seconds"), "+%H:%M:%S"])
            .output()?;
        anyhow::Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    };
    let time = format!("time = \"{}-{}\"", clock(3)?, clock(7)?);
    let text = std::fs::read_to_string(lab.daemon.config())?;
    lab.daemon.write(&(text + &rule("shift", 1, &time, &["web-3"])))?;
    lab.daemon.ok("reload")?;
    assert_eq!(lab.rule("shift")?["active"], false);
    assert_eq!(lab.answers(0, 3)?, tally([("web-1", 1), ("web-2", 1), ("web-3", 1)]));
    lab.until("shift", true)?;
    assert_eq!(lab.answers(0, 5)?, tally([("web-3", 5)]));
    lab.until("shift", false)?;
    assert_eq!(lab.answers(0, 3)?, tally([("web-1", 1), ("web-2", 1), ("web-3", 1)]));
    let log = lab.daemon.log();
    assert!(log.contains("rule web/shift: holds") && log.contains("web/shift: no longer"), "{log}");
    Ok(())
}

#[test]
fn a_rate_switches_a_rule() -> Result<()> {
    let calm = rule("calm", 1, "max_new_connections = 20", &["web-1"]);
    let Some(lab) = Ruled::start("rulesrate", "", &calm)? else { return Ok(()) };
    lab.until("calm", true)?;
    assert_eq!(lab.answers(0, 5)?, tally([("web-1", 5)]));
    // More than 20 a second, until the rule is off.
    let busy = (0..50).any(|_| {
        let asked = lab.answers(1, 100).is_ok();
        asked && lab.rule("calm").is_ok_and(|rule| rule["active"] == false)
    });
    assert!(busy, "the rule holds, however many connections there are");
    assert!(lab.answers(0, 3)?.len() > 1, "all backends take part");
    lab.until("calm", true)?;
    assert_eq!(lab.answers(0, 5)?, tally([("web-1", 5)]));
    Ok(())
}

#[test]
fn a_count_and_a_bandwidth_switch_rules() -> Result<()> {
    let few = rule("few", 1, "max_active_connections = 0\nevaluate = \"rule\"", &["web-1"]);
    let reserved =
        rule("reserved", 2, "max_bandwidth = 1_000_000\nevaluate = \"rule\"", &["web-2"]);
    let shared = rule("shared", 3, "shared_bandwidth = 100_000_000_000", &["web-3"]);
    let Some(lab) = Ruled::start("rulesbytes", "measure = true", &(few + &reserved + &shared))?
    else {
        return Ok(());
    };
    publish(&lab.lab, "much", &vec![7; 4 << 20])?;
    ["few", "reserved", "shared"].iter().try_for_each(|name| lab.until(name, true))?;
    // The first rule's backend has a connection that stays: the second rule applies.
    let slow =
        format!("curl -s --max-time 60 --limit-rate 20k http://{VIP4}/files/much -o /dev/null");
    let held = lab.lab.clients[1].spawn("slow", &slow)?;
    lab.until("few", false)?;
    assert_eq!(lab.answers(0, 3)?, tally([("web-2", 3)]));
    // The second rule's backend now exceeds its bandwidth.
    let much = || {
        lab.lab.clients[0]
            .run(&format!("curl -s --max-time 20 http://{VIP4}/files/much -o /dev/null"))
    };
    let mut was_off = false;
    for _ in 0..50 {
        much()?;
        if lab.rule("reserved")?["active"] == false {
            was_off = true;
            break;
        }
    }
    assert!(was_off, "4 MiB in less than a second are no more than 1 MB/s");
    assert_eq!(lab.answers(0, 3)?, tally([("web-3", 3)]), "what is shared has room");
    lab.until("reserved", true)?;
    drop(held);
    lab.until("few", true)?;
    assert_eq!(lab.answers(0, 1)?, tally([("web-1", 1)]));
    Ok(())
}
