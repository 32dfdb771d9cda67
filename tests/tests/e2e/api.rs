//! What scripts use: the HTTP API over its socket, lists, and what `--save` writes.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::common::{VIPS, Web, backend_of, tally};

fn get(web: &Web, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
    let socket = web.lab.directory().join("api.sock");
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]).arg(socket);
    if !body.is_empty() {
        curl.args(["-H", "Content-Type: application/json", "-d", body]);
    }
    let output = curl.arg(format!("http://dispatcher{path}")).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) = text.rsplit_once('\n').context("a status")?;
    let body = if body.trim().is_empty() { Value::Null } else { serde_json::from_str(body)? };
    Ok((status.parse()?, body))
}

#[test]
fn scripts_read_and_change_over_the_socket() -> Result<()> {
    let Some(web) = Web::start("api", &[1, 1])? else { return Ok(()) };
    let (status, all) = get(&web, "GET", "/v1/status", "")?;
    assert_eq!((status, &all["services"][0]["name"]), (200, &"web4".into()));
    let path = "/v1/services/web4/backends/web-1";
    let (status, backend) = get(&web, "PATCH", path, r#"{"weight": 4}"#)?;
    assert_eq!((status, &backend["weight"]), (200, &4.into()));
    assert_eq!(web.requests(VIPS[0], 50)?, tally([("web-1", 40), ("web-2", 10)]));
    let (status, backend) = get(&web, "GET", path, "")?;
    assert_eq!((status, &backend["connections"]), (200, &40.into()));
    for (method, path, body, want) in [
        ("GET", "/v1/services/shop", "", 404),
        ("PATCH", path, r#"{"wieght": 4}"#, 422),
        ("PATCH", path, r#"{"weight": 21}"#, 422),
        ("PATCH", path, "{", 400),
    ] {
        let (status, error) = get(&web, method, path, body)?;
        assert!(status == want || (want == 400 && status == 422), "{path} {body}: {status}");
        assert!(error["error"].is_string(), "{path} {body}: {error}");
    }
    let (status, _) = get(&web, "DELETE", "/v1/services/web4/backends/web-2", "")?;
    assert!(status == 200 || status == 204, "{status}");
    assert_eq!(web.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
    for path in ["/v1/interfaces", "/v1/services", "/v1/connections", "/v1/plan"] {
        assert_eq!(get(&web, "GET", path, "")?.0, 200, "{path}");
    }
    let mode = std::fs::metadata(web.lab.directory().join("api.sock"))?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o660);
    Ok(())
}

#[test]
fn connections_are_listed_while_they_live() -> Result<()> {
    let Some(web) = Web::start("list", &[1, 1])? else { return Ok(()) };
    crate::common::publish(&web.lab, "big", &crate::common::noise(60_000_000))?;
    for vip in VIPS {
        let transfer = web.lab.client().slow_download(vip, "/files/big")?;
        let service = crate::common::web(vip);
        let listed = web.daemon.json(&format!("connections {service}"))?;
        let found = listed["connections"].as_array().context("connections")?;
        let live: Vec<_> = found.iter().filter(|c| c["state"] == "established").collect();
        assert_eq!(live.len(), 1, "{listed}");
        let connection = live[0];
        let client = crate::common::address_of(web.lab.client(), vip).to_string();
        assert_eq!(connection["client"], client.as_str());
        assert_eq!(connection["backend"], transfer.server());
        assert_eq!(
            (&connection["vip"], &connection["vip_port"]),
            (&vip.to_string().into(), &80.into())
        );
        transfer.finish()?;
        let filter = format!("connections {service} --client {client} --backend web-1 --limit 1");
        assert!(web.daemon.json(&filter)?["connections"].as_array().is_some());
    }
    // The daemon maps the flow records (2^14 buckets of 320 bytes) only while it lists.
    let pid = web.daemon.json("status")?["pid"].to_string();
    let mapped = largest_map(&pid)?;
    assert!((1..5 << 20).contains(&mapped), "{mapped} bytes of a map are mapped");
    Ok(())
}

/// Bytes of the largest BPF map that a process has mapped.
fn largest_map(pid: &str) -> Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut largest = 0;
    for line in maps.lines().filter(|line| line.ends_with("bpf-map")) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let (start, end) = range.context("a range of addresses")?;
        largest = largest.max(u64::from_str_radix(end, 16)? - u64::from_str_radix(start, 16)?);
    }
    Ok(largest)
}

#[test]
fn save_makes_the_file_say_what_runs() -> Result<()> {
    let Some(mut web) = Web::start("save", &[1, 1])? else { return Ok(()) };
    web.daemon.edit("weight = 1\n", "weight = 1 # by the operator\n")?;
    web.daemon.ok("reload")?;
    web.daemon.ok("weight web4 web-1 4 --save")?;
    let other = dispatcher_lab::OTHER_VIP4;
    web.daemon.ok(&format!("service add shop --vip {other} --port 80 --protocol tcp --save"))?;
    web.daemon.ok(&format!("backend add shop b --address {} --save", web.lab.backends[0].v4()))?;
    let text = std::fs::read_to_string(web.daemon.config())?;
    assert!(text.contains("# by the operator"), "comments stay: {text}");
    assert!(web.daemon.json("plan")?["changes"].as_array().context("changes")?.is_empty());
    // A fresh start from the file runs the same.
    assert_eq!(web.daemon.stop()?, Some(0));
    web.daemon.start()?;
    crate::common::all_up(&web.daemon)?;
    assert_eq!(backend_of(&web.daemon, "web4", "web-1")?["weight"], 4);
    assert_eq!(web.requests(other.into(), 4)?, tally([("web-1", 4)]));
    Ok(())
}
