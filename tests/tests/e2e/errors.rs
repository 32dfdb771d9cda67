//! Error messages and exit statuses.

use anyhow::Result;
use dispatcher_lab::{Plan, Said};

use crate::common::{Web, lab, web_services};

/// Lower case, and one line except for a hint.
fn is_one_line(said: &Said) {
    let mut lines = said.err.lines().filter(|line| !line.starts_with("hint:"));
    let first = lines.next().unwrap_or_default();
    assert!(!first.is_empty() && lines.next().is_none(), "not one line: {:?}", said.err);
    let text = first.trim_start_matches("error: ");
    assert!(text.chars().next().is_some_and(|c| !c.is_uppercase()), "{first}");
}

#[test]
fn exit_statuses_tell_what_went_wrong() -> Result<()> {
    let Some(lab) = lab(&Plan::new("errors").backends(1))? else { return Ok(()) };
    let mut daemon = lab.daemon(&web_services(&lab, &[1]))?;
    let nobody = daemon.cli(["status"])?;
    assert_eq!(nobody.status, 3, "{}", nobody.err);
    is_one_line(&nobody);
    assert!(nobody.err.contains("api.sock") && nobody.err.contains("hint:"), "{}", nobody.err);
    let config = daemon.config().display().to_string();
    assert_eq!(daemon.cli(["check", "-c", &config])?.status, 0);
    assert_eq!(daemon.cli(["check", "-c", "/nonexistent.toml"])?.status, 2);
    for wrong in
        [&["frobnicate"][..], &["weight", "web4"], &["run"], &["weight", "web4", "x", "-1"]]
    {
        assert_eq!(daemon.cli(wrong)?.status, 2, "{wrong:?}");
    }
    daemon.start()?;
    for (wrong, status, word) in [
        (&["weight", "shop", "web-1", "1"][..], 1, "shop"),
        (&["weight", "web4", "web-9", "1"], 1, "web-9"),
        (&["weight", "web4", "web-1", "21"], 2, "21"),
        (&["attach", "eth9"], 1, "eth9"),
        (&["backend", "add", "web4", "b", "--address", "10.0.0.11"], 2, "10.0.0.11"),
    ] {
        let said = daemon.cli(wrong)?;
        assert_eq!(said.status, status, "{wrong:?}: {}", said.err);
        is_one_line(&said);
        assert!(said.err.contains(word), "{wrong:?}: {}", said.err);
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(daemon.ok(&format!("completions {shell}"))?.contains("dispatcher"));
    }
    for verb in ["status", "services", "backends", "connections", "plan"] {
        assert!(!daemon.ok(verb)?.is_empty(), "{verb}");
        daemon.json(verb)?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_cannot_start_says_why() -> Result<()> {
    let Some(lab) = lab(&Plan::new("start").backends(1))? else { return Ok(()) };
    let mut daemon = lab.daemon(&web_services(&lab, &[1]))?;
    daemon.edit("port = 80", "port = 70000")?;
    daemon.launch()?;
    let status = daemon.process()?.wait(std::time::Duration::from_secs(10))?;
    assert_eq!(status, Some(2), "{}", daemon.log());
    assert!(daemon.log().contains("70000"), "{}", daemon.log());
    // Several errors: the summary is that of `check`.
    daemon.edit("protocol = \"tcp\"", "protocol = \"sctp\"")?;
    let check = daemon.cli(["check", "-c", &daemon.config().display().to_string()])?;
    let summary = check.err.lines().last().unwrap_or_default();
    assert!(summary.ends_with(" errors"), "{}", check.err);
    daemon.launch()?;
    let status = daemon.process()?.wait(std::time::Duration::from_secs(10))?;
    assert_eq!(status, Some(2), "{}", daemon.log());
    assert!(daemon.log().contains(summary), "{}", daemon.log());
    Ok(())
}

/// The error has the driver's text, the MTU and its limit, not only that another mode might work.
#[test]
fn a_nic_with_jumbo_frames_is_refused_with_the_cause() -> Result<()> {
    let Some(web) = Web::start("jumbo", &[1])? else { return Ok(()) };
    web.lab.lb.ip("link add big0 mtu 9000 type veth peer name big1 mtu 9000")?;
    let said = web.daemon.cli(["attach", "big0"])?;
    assert_eq!(said.status, 1, "{}", said.err);
    is_one_line(&said);
    for word in ["big0", "MTU is too large", "its MTU is 9000, expected 3498 or less", "mtu 3498"] {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    // Both parts of the hint are true.
    web.daemon.ok("attach big0 --mode generic")?;
    web.daemon.ok("detach big0")?;
    web.lab.lb.ip("link set big0 mtu 3498")?;
    let said = web.daemon.cli(["attach", "big0", "--mode", "native"])?;
    assert!(said.err.contains("its MTU is 3498, that of the other end is larger"), "{}", said.err);
    web.lab.lb.ip("link set big1 mtu 3498")?;
    web.daemon.ok("attach big0 --mode native")?;
    Ok(())
}

#[test]
fn a_second_controller_is_refused() -> Result<()> {
    let Some(web) = Web::start("second", &[1])? else { return Ok(()) };
    let mut second = web.lab.daemon("")?;
    let elsewhere = web.lab.directory().join("second.sock");
    let text = web.lab.general(&["eth0"]) + &web_services(&web.lab, &[1]);
    second.write(&text.replace(
        &web.lab.directory().join("api.sock").display().to_string(),
        &elsewhere.display().to_string(),
    ))?;
    second.launch()?;
    let status = second.process()?.wait(std::time::Duration::from_secs(10))?;
    assert_eq!(status, Some(1), "{}", second.log());
    web.daemon.ok("status")?;
    Ok(())
}

#[test]
fn metrics_are_what_promtool_expects() -> Result<()> {
    let Some(web) = Web::start("promtool", &[1])? else { return Ok(()) };
    web.requests(crate::common::VIPS[0], 5)?;
    let page = web.daemon.metrics()?;
    assert!(page.contains("dispatcher_backend_connections_total"), "{page}");
    let mut child = match std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: promtool: {error}");
            return Ok(());
        }
    };
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), page.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}
