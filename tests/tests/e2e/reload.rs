//! Reload: all or nothing, and only what differs.

use std::time::Duration;

use anyhow::Result;
use dispatcher_lab::eventually;

use crate::common::{VIPS, Web, backend, backend_of, service_of, tally};

/// Removes counters and times; the rest is what a reload could change.
fn settings(web: &Web) -> Result<Vec<serde_json::Value>> {
    let keep = [
        "name",
        "vip",
        "port",
        "scheduler",
        "weight",
        "up",
        "quiesced",
        "address",
        "mac",
        "on_down",
        "stale_timeout",
        "fin_count",
    ];
    let mut all = Vec::new();
    for name in ["web4", "web6"] {
        let service = service_of(&web.daemon, name)?;
        for object in service["backends"].as_array().into_iter().flatten().chain([&service]) {
            all.push(keep.iter().map(|key| object[*key].clone()).collect());
        }
    }
    Ok(all)
}

#[test]
fn a_refused_reload_names_every_error_and_changes_nothing() -> Result<()> {
    let Some(web) = Web::start("refused", &[3, 2, 1])? else { return Ok(()) };
    let good = std::fs::read_to_string(web.daemon.config())?;
    let before = settings(&web)?;
    let second =
        "\n[[service]]\nname = \"again\"\nvip = \"10.0.0.80\"\nport = 80\nprotocol = \"tcp\"\n";
    for (old, new, said) in [
        ("port = 80\n", "port = 80\nscheduler = \"fastest\"\n", "fastest"),
        ("port = 80\n", "port = 70000\n", "70000"),
        ("weight = 3\n", "weight = 101\n", "101"),
        ("weight = 3\n", "wieght = 3\n", "wieght"),
        ("weight = 3\n", "weight = 3\nmac = \"01:00:5e:00:00:01\"\n", "01:00:5e:00:00:01"),
        ("interfaces", "interfaces = [\n[connections", ":"),
        ("interfaces = [\"eth0\"]", "interfaces = [\"eth0\", \"eth0\"]", "eth0"),
        ("\n[connections]", "manager = 7\n\n[connections]", "manager"),
    ] {
        web.daemon.write(&good.replacen(old, new, 1))?;
        let refused = web.daemon.cli(["reload"])?;
        assert_eq!(refused.status, 2, "{new}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(said), "{new}: {}", refused.err);
        assert!(refused.err.contains("dispatcher.toml:"), "place: {}", refused.err);
        assert_eq!(settings(&web)?, before, "{new}");
    }
    web.daemon.write(&(good.clone() + second))?;
    let refused = web.daemon.cli(["reload"])?;
    assert_eq!(refused.status, 2, "the same VIP:port twice: {}", refused.err);
    assert!(refused.err.contains("again"), "{}", refused.err);
    // Several errors at once: each is listed. The correct part of the file is not applied.
    let bad = good
        .replacen("weight = 3", "weight = 101", 1)
        .replacen("weight = 2", "weight = 7", 1)
        .replacen("port = 80", "port = 70000", 1);
    web.daemon.write(&bad)?;
    let refused = web.daemon.cli(["reload"])?;
    assert_eq!(refused.status, 2);
    assert!(refused.err.contains("101") && refused.err.contains("70000"), "{}", refused.err);
    assert_eq!(settings(&web)?, before);
    assert_eq!(web.daemon.metric("dispatcher_config_reload_success", &[])?, 0.0);
    let want = tally([("web-1", 30), ("web-2", 20), ("web-3", 10)]);
    for vip in VIPS {
        assert_eq!(web.requests(vip, 60)?, want, "{vip}");
    }
    web.daemon.write(&good)?;
    web.daemon.ok("reload")?;
    assert_eq!(web.daemon.metric("dispatcher_config_reload_success", &[])?, 1.0);
    Ok(())
}

#[test]
fn a_reload_applies_the_difference_and_spares_what_was_set_by_hand() -> Result<()> {
    let Some(mut web) = Web::start("reload", &[3, 2, 1])? else { return Ok(()) };
    let vip = VIPS[0];
    web.daemon.ok("weight web4 web-1 6")?;
    web.daemon.ok("quiesce web4 web-2")?;
    // web6 changes in the file; web4 does not.
    let text = std::fs::read_to_string(web.daemon.config())?;
    let (head, tail) = text.split_at(text.rfind("weight = 1").unwrap());
    web.daemon.write(&format!("{head}{}", tail.replacen("weight = 1", "weight = 2", 1)))?;
    let plan = web.daemon.ok("plan")?;
    assert!(plan.contains("web6") && plan.contains("web-3"), "{plan}");
    assert!(!plan.contains("web4"), "{plan}");
    web.daemon.ok("reload")?;
    assert_eq!(backend_of(&web.daemon, "web6", "web-3")?["weight"], 2);
    assert_eq!(backend_of(&web.daemon, "web4", "web-1")?["weight"], 6);
    assert_eq!(backend_of(&web.daemon, "web4", "web-2")?["quiesced"], true);
    assert_eq!(web.requests(vip, 70)?, tally([("web-1", 60), ("web-3", 10)]));
    // A value changed in the file overrides the one set by hand. SIGHUP also reloads.
    let text = std::fs::read_to_string(web.daemon.config())?;
    web.daemon.write(&text.replacen("weight = 3", "weight = 4", 1))?;
    web.daemon.process()?.signal(nix::sys::signal::Signal::SIGHUP)?;
    eventually(Duration::from_secs(5), "weight 4", || {
        Ok(backend_of(&web.daemon, "web4", "web-1")?["weight"] == 4)
    })?;
    assert_eq!(backend_of(&web.daemon, "web4", "web-2")?["quiesced"], true);
    assert!(web.daemon.json("plan")?["changes"].as_array().unwrap().is_empty());
    // A backend is removed from the file, and added again.
    let text = std::fs::read_to_string(web.daemon.config())?;
    let third = backend("web-3", web.lab.backends[2].v4().into(), 1);
    assert!(text.contains(&third));
    web.daemon.write(&text.replacen(&third, "", 1))?;
    web.daemon.ok("reload")?;
    assert_eq!(web.requests(vip, 10)?, tally([("web-1", 10)]));
    web.daemon.write(&text)?;
    web.daemon.ok("reload")?;
    crate::common::all_up(&web.daemon)?;
    assert_eq!(web.requests(vip, 10)?, tally([("web-1", 8), ("web-3", 2)]));
    Ok(())
}

#[test]
fn status_and_plan_show_settings_that_wait() -> Result<()> {
    let Some(mut web) = Web::start("waiting", &[1])? else { return Ok(()) };
    let note =
        |web: &Web| Ok::<_, anyhow::Error>(web.daemon.json("status")?["config"]["note"].clone());
    assert!(note(&web)?.is_null());
    let text = std::fs::read_to_string(web.daemon.config())?;
    let changed = text.replacen("capacity = 65536", "capacity = 32768", 1);
    web.daemon.write(&format!("metrics_listen = \"127.0.0.1:9465\"\n{changed}"))?;
    web.daemon.ok("reload")?;
    let capacity = "capacity 65536 → 32768 (takes effect at the next fresh start";
    let listen = "metrics_listen 127.0.0.1:9464 → 127.0.0.1:9465 (takes effect when the daemon is";
    for verb in ["status", "plan"] {
        let shown = web.daemon.ok(verb)?;
        assert!(shown.contains(capacity) && shown.contains(listen), "{verb}: {shown}");
    }
    web.daemon.write(&changed)?;
    web.daemon.ok("reload")?;
    let shown = note(&web)?.to_string();
    assert!(shown.contains(capacity) && !shown.contains("metrics_listen"), "{shown}");
    // A restart keeps the table.
    web.daemon.kill();
    web.daemon.start()?;
    assert_eq!(note(&web)?.to_string(), shown);
    web.daemon.write(&text)?;
    web.daemon.ok("reload")?;
    assert!(note(&web)?.is_null());
    Ok(())
}
