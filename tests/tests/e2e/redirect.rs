//! Backends behind a second NIC, and on the dispatcher's own host.

use anyhow::{Result, ensure};
use dispatcher_lab::{Plan, url};

use crate::common::{VIPS, all_up, lab, noise, publish, reason, tally, web, web_services};

#[test]
fn a_backend_behind_a_second_nic_is_reached_by_redirect() -> Result<()> {
    let plan = Plan::new("redirect").backends(1).far_backends(1);
    let Some(lab) = lab(&plan)? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let file = noise(20_000_000);
    publish(&lab, "big", &file)?;
    let mut daemon = lab.daemon("")?;
    daemon.write(&(lab.general(&["eth0", "eth1"]) + &web_services(&lab, &[1, 1])))?;
    daemon.start()?;
    all_up(&daemon)?;
    for vip in VIPS {
        let got = lab.client().quick_requests(vip, 40)?;
        assert_eq!(got, tally([("far-1", 20), ("web-1", 20)]), "{vip}");
        daemon.ok(&format!("weight {} web-1 0", web(vip)))?;
        let status = lab.client().download(&url(vip, "/files/big"), "got").status()?;
        ensure!(status.success(), "download over {vip}: {status}");
        ensure!(std::fs::read(lab.client().directory().join("got"))? == file, "file differs");
        let where_ = &crate::common::backend_of(&daemon, web(vip), "far-1")?["interface"];
        assert_eq!(where_, "eth1");
    }
    assert!(reason(&daemon, "redirect", "forwarded") > 100.0);
    assert!(reason(&daemon, "tx", "forwarded") > 100.0);
    Ok(())
}

#[test]
fn a_local_backend_is_served_by_the_kernel() -> Result<()> {
    let Some(lab) = lab(&Plan::new("local").backends(1))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let _local = lab.lb.serve_web()?;
    let mut text = String::new();
    for vip in VIPS {
        text += &crate::common::service(web(vip), vip, 80, "tcp");
        let address = crate::common::address_of(&lab.backends[0], vip);
        text += &crate::common::backend("web-1", address, 1);
        let here = crate::common::address_of(&lab.lb, vip);
        text += crate::common::backend("lb", here, 1).trim_end();
        text += "\nlocal = true\n\n";
    }
    let mut daemon = lab.daemon(&text)?;
    daemon.start()?;
    all_up(&daemon)?;
    for vip in VIPS {
        let got = lab.client().quick_requests(vip, 20)?;
        assert_eq!(got, tally([("lb", 10), ("web-1", 10)]), "{vip}");
        let counted = crate::common::backend_of(&daemon, web(vip), "lb")?;
        assert_eq!(counted["connections"], 10);
    }
    assert!(reason(&daemon, "pass", "local") > 0.0);
    Ok(())
}
