//! Attach modes, drivers without native XDP, schedulers, wildcards and families.

use std::{
    io::Write as _,
    net::{IpAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;
use dispatcher_lab::{OTHER_VIP4, OTHER_VIP6, Plan, eventually};

use crate::common::{
    VIPS, Web, address_of, all_up, backend, backend_metric, backend_of, lab, reason, service,
    tally, web, web_services,
};

#[test]
fn generic_mode_dispatches_on_request() -> Result<()> {
    let Some(lab) = lab(&Plan::new("generic"))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let mut daemon = lab.daemon(&web_services(&lab, &[3, 2, 1]))?;
    daemon.edit("interfaces =", "xdp_mode = \"generic\"\ninterfaces =")?;
    daemon.start()?;
    all_up(&daemon)?;
    assert!(lab.lb.ip("link show eth0")?.contains("xdpgeneric"));
    for vip in VIPS {
        let got = lab.client().quick_requests(vip, 60)?;
        assert_eq!(got, tally([("web-1", 30), ("web-2", 20), ("web-3", 10)]), "{vip}");
    }
    Ok(())
}

#[test]
fn a_driver_without_native_mode_is_named_and_nothing_falls_back() -> Result<()> {
    let Some(web) = Web::start("native", &[1])? else { return Ok(()) };
    web.lab.lb.ip("link add br9 type bridge")?;
    web.lab.lb.ip("link set br9 up")?;
    let refused = web.daemon.cli(["attach", "br9"])?;
    assert_eq!(refused.status, 1, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("br9") && refused.err.contains("generic"), "{}", refused.err);
    assert!(!web.lab.lb.ip("link show br9")?.contains("xdp"), "no silent fallback");
    web.daemon.ok("attach br9 --mode generic")?;
    assert!(web.lab.lb.ip("link show br9")?.contains("xdpgeneric"));
    web.daemon.ok("detach br9")?;
    assert!(!web.lab.lb.ip("link show br9")?.contains("xdp"));
    assert_eq!(web.requests(VIPS[0], 10)?, tally([("web-1", 10)]));
    Ok(())
}

#[test]
fn round_robin_ignores_weights_and_port_0_takes_every_port() -> Result<()> {
    let Some(lab) = lab(&Plan::new("rr"))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let mut text = String::new();
    for (name, vip, port) in [
        ("rr4", VIPS[0], 80),
        ("rr6", VIPS[1], 80),
        ("any4", IpAddr::V4(OTHER_VIP4), 0),
        ("any6", IpAddr::V6(OTHER_VIP6), 0),
    ] {
        text += service(name, vip, port, "tcp").trim_end();
        text += "\nscheduler = \"rr\"\n\n";
        for (node, weight) in lab.backends.iter().zip([7, 1, 1]) {
            // Any address that leads to its MAC will do: these are of the other family.
            let other = if vip.is_ipv4() { VIPS[1] } else { VIPS[0] };
            text += &backend(node.name(), address_of(node, other), weight);
        }
    }
    let mut daemon = lab.daemon(&text)?;
    daemon.start()?;
    all_up(&daemon)?;
    let want = tally([("web-1", 20), ("web-2", 20), ("web-3", 20)]);
    for vip in VIPS.into_iter().chain([IpAddr::V4(OTHER_VIP4), OTHER_VIP6.into()]) {
        assert_eq!(lab.client().quick_requests(vip, 60)?, want, "{vip}");
    }
    // An exact service has priority over the wildcard; other ports of a VIP have no service.
    daemon.ok(&format!("service add exact --vip {OTHER_VIP4} --port 80 --protocol tcp"))?;
    let only = lab.backends[2].v4();
    daemon.ok(&format!("backend add exact web-3 --address {only}"))?;
    all_up(&daemon)?;
    assert_eq!(lab.client().quick_requests(OTHER_VIP4.into(), 5)?, tally([("web-3", 5)]));
    let before = reason(&daemon, "drop", "no_service");
    let refused = lab.client().output("curl -s --max-time 1 http://10.0.0.80:81/")?;
    assert!(!refused.status.success());
    assert!(reason(&daemon, "drop", "no_service") > before);
    Ok(())
}

#[test]
fn a_connection_that_the_client_resets_is_not_active_any_more() -> Result<()> {
    let Some(web_) = Web::start("reset", &[1])? else { return Ok(()) };
    for vip in VIPS {
        let active = || backend_metric(&web_.daemon, "active_connections", web(vip), "web-1");
        let connection = web_.lab.client().enter(|| Ok(TcpStream::connect((vip, 80))?))?;
        (&connection).write_all(b"GET /")?;
        eventually(Duration::from_secs(5), "an active connection", || Ok(active()? == 1.0))?;
        // Data that arrives and is never read makes close() send an RST instead of a FIN.
        (&connection).write_all(b" HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        std::thread::sleep(Duration::from_millis(300));
        drop(connection);
        eventually(Duration::from_secs(5), "no active connection", || Ok(active()? == 0.0))?;
    }
    Ok(())
}

#[test]
fn a_removed_backend_takes_its_connections_along_and_is_not_mistaken() -> Result<()> {
    let Some(web) = Web::start("gone", &[1, 1])? else { return Ok(()) };
    crate::common::publish(&web.lab, "big", &crate::common::noise(60_000_000))?;
    let transfer = web.lab.client().slow_download(VIPS[0], "/files/big")?;
    let gone = transfer.server().to_owned();
    let left = if gone == "web-1" { "web-2" } else { "web-1" };
    web.daemon.ok(&format!("backend remove web4 {gone}"))?;
    assert_eq!(web.requests(VIPS[0], 10)?, tally([(left_name(left), 10)]));
    // Once a sweep has removed the connection, too, its packets belong to none.
    eventually(Duration::from_secs(5), "dropped packets of the removed backend", || {
        let dropped = |why| reason(&web.daemon, "drop", why);
        Ok(dropped("backend_gone") + dropped("orphan_ack") > 0.0)
    })?;
    // Added again it is another backend: the old connection does not come back to life.
    let address = web.lab.node(&gone)?.v4();
    web.daemon.ok(&format!("backend add web4 {gone} --address {address} --weight 1"))?;
    all_up(&web.daemon)?;
    let now = backend_of(&web.daemon, "web4", &gone)?;
    assert_eq!(now["connections"], 0, "a new backend has counted nothing: {now}");
    let got = web.requests(VIPS[0], 10)?;
    assert_eq!(got.values().sum::<u32>(), 10);
    assert!(got.keys().all(|who| !who.starts_with("error")), "{got:?}");
    Ok(())
}

fn left_name(name: &str) -> &'static str {
    if name == "web-1" { "web-1" } else { "web-2" }
}
