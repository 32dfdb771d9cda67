//! Backends' MACs and the NIC itself: traffic follows, or stops, and status says why.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use dispatcher_lab::eventually;

use crate::common::{VIPS, Web, backend_metric, backend_of, state_contains, tally, web};

#[test]
fn traffic_follows_a_backend_whose_mac_changes() -> Result<()> {
    let Some(web_) = Web::start("mac", &[1, 1])? else { return Ok(()) };
    web_.lab.backends[0].ip("link set eth0 address 02:00:00:00:00:99")?;
    for vip in VIPS {
        eventually(Duration::from_secs(12), "the new mac in status", || {
            Ok(backend_of(&web_.daemon, web(vip), "web-1")?["mac"] == "02:00:00:00:00:99")
        })?;
        assert_eq!(web_.requests(vip, 20)?, tally([("web-1", 10), ("web-2", 10)]), "{vip}");
    }
    Ok(())
}

#[test]
fn a_backend_that_does_not_answer_gets_no_traffic_and_says_so() -> Result<()> {
    let Some(web_) = Web::start("dead", &[1, 1])? else { return Ok(()) };
    web_.lab.backends[0].ip("link set eth0 down")?;
    for vip in VIPS {
        let service = web(vip);
        let state = state_contains(&web_.daemon, service, "web-1", "does not answer", 12)?;
        assert!(state.contains("eth0"), "{state}");
        assert_eq!(web_.requests(vip, 20)?, tally([("web-2", 20)]), "{vip}");
        assert_eq!(backend_metric(&web_.daemon, "up", service, "web-1")?, 0.0);
        assert_eq!(backend_metric(&web_.daemon, "resolved", service, "web-1")?, 0.0);
    }
    assert!(web_.daemon.log().contains("does not answer"), "the log says so, too");
    let node = &web_.lab.backends[0];
    node.ip("link set eth0 up")?;
    node.ip(&format!("addr replace {}/64 dev eth0 nodad", node.v6()))?;
    crate::common::all_up(&web_.daemon)?;
    for vip in VIPS {
        assert_eq!(web_.requests(vip, 20)?, tally([("web-1", 10), ("web-2", 10)]), "{vip}");
    }
    Ok(())
}

#[test]
fn a_flush_of_the_neighbour_table_costs_no_connection() -> Result<()> {
    let Some(web) = Web::start("flush", &[1, 1])? else { return Ok(()) };
    std::thread::scope(|scope| -> Result<()> {
        let requests = scope.spawn(|| web.requests(VIPS[0], 600));
        for _ in 0..10 {
            web.lab.lb.ip("neigh flush all")?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let got = requests.join().expect("no panic")?;
        assert_eq!(got, tally([("web-1", 300), ("web-2", 300)]));
        Ok(())
    })
}

#[test]
fn a_backend_elsewhere_is_named_and_the_others_serve() -> Result<()> {
    let Some(web) = Web::start("elsewhere", &[1, 1])? else { return Ok(()) };
    let far: IpAddr = "203.0.113.9".parse()?;
    web.daemon.ok(&format!("backend add web4 far --address {far} --weight 20"))?;
    let state = backend_of(&web.daemon, "web4", "far")?["state"].to_string();
    assert!(state.contains("203.0.113.9"), "{state}");
    assert_eq!(web.requests(VIPS[0], 20)?, tally([("web-1", 10), ("web-2", 10)]));
    // With its MAC configured, nothing is looked up: it is where the operator says.
    let mac = web.lab.backends[0].mac();
    web.daemon.ok(&format!("backend set web4 far --mac {mac}"))?;
    let up = backend_of(&web.daemon, "web4", "far")?;
    assert_eq!(up["mac"], mac.as_str(), "{up}");
    Ok(())
}

#[test]
fn a_nic_that_goes_and_comes_back_serves_again() -> Result<()> {
    let Some(web) = Web::start("nic", &[1, 1])? else { return Ok(()) };
    let lab = &web.lab;
    lab.lb.ip("link del eth0")?;
    eventually(Duration::from_secs(5), "a status that says the NIC is gone", || {
        let status = web.daemon.json("status")?;
        Ok(status["interfaces"][0]["attached"] == false)
    })?;
    let status = web.daemon.ok("status")?;
    assert!(status.contains("eth0"), "{status}");
    state_contains(&web.daemon, "web4", "web-1", "was on eth0, which is gone", 5)?;
    lab.plug(&lab.lb, "eth0", 0)?;
    eventually(Duration::from_secs(10), "a NIC that is attached again", || {
        Ok(web.daemon.json("status")?["interfaces"][0]["attached"] == true)
    })?;
    crate::common::all_up(&web.daemon)?;
    for vip in VIPS {
        assert_eq!(web.requests(vip, 20)?, tally([("web-1", 10), ("web-2", 10)]), "{vip}");
    }
    Ok(())
}
