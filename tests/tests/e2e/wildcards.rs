//! Services on any address: a client whose route to a foreign network leads to the dispatcher, and backends that answer
//! for the whole network.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, Process, VIP4, VIP6, eventually, url};

use crate::common::{VIPS, address_of, all_up, backend, lab, reason, service, tally};

/// Foreign networks.
const NETS: [&str; 2] = ["203.0.113.0/24", "2001:db8:f00::/64"];

fn foreign(vip: IpAddr, host: u8) -> IpAddr {
    let text = match vip {
        IpAddr::V4(_) => format!("203.0.113.{host}"),
        IpAddr::V6(_) => format!("2001:db8:f00::{host}"),
    };
    text.parse().expect("an address")
}

/// For each family: VIP:80 on the first backend, any:80 on the second, any port of any address on the third.
fn services(lab: &Lab) -> String {
    let mut text = String::new();
    for (vip, any) in [(VIP4.into(), "0.0.0.0"), (VIP6.into(), "::")] {
        let any: IpAddr = any.parse().expect("an address");
        let family = if any.is_ipv4() { 4 } else { 6 };
        let all = [(format!("vip{family}"), vip, 80), (format!("http{family}"), any, 80)];
        let all = all.into_iter().chain([(format!("all{family}"), any, 0)]);
        for ((name, vip, port), node) in all.zip(&lab.backends) {
            text += &service(&name, vip, port, "tcp");
            text += &backend(node.name(), address_of(node, vip), 1);
        }
    }
    text
}

fn routed() -> Result<Option<Lab>> {
    let Some(lab) = lab(&Plan::new("wild"))? else { return Ok(None) };
    for net in NETS {
        let family = if net.contains(':') { "-6" } else { "-4" };
        let via = if net.contains(':') { lab.lb.v6().to_string() } else { lab.lb.v4().to_string() };
        lab.client().ip(&format!("{family} route add {net} via {via}"))?;
        for backend in &lab.backends {
            backend.ip(&format!("{family} route add local {net} dev lo"))?;
        }
    }
    Ok(Some(lab))
}

/// A dispatcher with these services, and a web server of its own.
struct Wild {
    daemon: Daemon,
    _servers: Vec<Process>,
    lab: Lab,
}

fn start() -> Result<Option<Wild>> {
    let Some(lab) = routed()? else { return Ok(None) };
    let mut servers = lab.serve_web()?;
    servers.push(lab.lb.serve_web()?);
    let mut daemon = lab.daemon(&services(&lab))?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(Some(Wild { daemon, lab, _servers: servers }))
}

#[test]
fn foreign_addresses_are_balanced_and_the_host_s_own_are_not() -> Result<()> {
    let Some(wild) = start()? else { return Ok(()) };
    let Wild { daemon, lab, .. } = &wild;
    let client = lab.client();
    for vip in VIPS {
        for (to, who) in [(vip, "web-1"), (foreign(vip, 5), "web-2"), (foreign(vip, 6), "web-2")] {
            assert_eq!(client.quick_requests(to, 10)?, tally([(who, 10)]), "{to}");
        }
    }
    // Only servers of the second service listen there, in IPv4.
    let at = foreign(VIP4.into(), 5);
    assert_eq!(client.run(&format!("curl -s --max-time 5 http://{at}:8080/"))?.trim(), "web-3");
    // The dispatcher's own addresses are not balanced, nor are its own requests.
    for own in [IpAddr::V4(lab.lb.v4()), lab.lb.v6().into()] {
        assert_eq!(client.quick_requests(own, 10)?, tally([("lb", 10)]), "{own}");
        let peer = address_of(&lab.backends[0], own);
        assert_eq!(lab.lb.quick_requests(peer, 5)?, tally([("web-1", 5)]), "{peer}");
        client.run(&format!("ping -c 2 -i 0.2 -W 2 {own}"))?;
    }
    // Nothing was put on a NIC for them.
    let addresses = lab.lb.ip("-o addr show dev eth0")?;
    ensure!(!addresses.contains("0.0.0.0") && !addresses.contains(" ::/"), "{addresses}");
    ensure!(addresses.contains(&VIP4.to_string()), "{addresses}");
    assert!(reason(daemon, "drop", "no_service") < 1.0);
    Ok(())
}

#[test]
fn an_address_that_the_host_gets_or_loses_is_followed_at_once() -> Result<()> {
    let Some(mut wild) = start()? else { return Ok(()) };
    let Wild { daemon, lab, .. } = &mut wild;
    let client = lab.client();
    for (vip, prefix) in VIPS.into_iter().zip([32, 128]) {
        let address = foreign(vip, 77);
        let by = |who: &'static str| {
            eventually(Duration::from_secs(3), &format!("{address} answered by {who}"), || {
                Ok(client.requests(address, 1)? == tally([(who, 1)]))
            })
        };
        by("web-2")?;
        lab.lb.ip(&format!("addr add {address}/{prefix} dev lo"))?;
        by("lb")?;
        // A controller that takes over knows them before it writes.
        daemon.kill();
        daemon.start()?;
        assert_eq!(client.quick_requests(address, 20)?, tally([("lb", 20)]), "{address}");
        lab.lb.ip(&format!("addr del {address}/{prefix} dev lo"))?;
        by("web-2")?;
    }
    // Without services on any address, the kernel gets everything again and does not forward it.
    let before = reason(daemon, "pass", "not_ours");
    let text = std::fs::read_to_string(daemon.config())?;
    let end = text.find("[[service]]").context("a service")?;
    let vips = crate::common::web_services(lab, &[1]);
    daemon.write(&(text[..end].to_owned() + &vips))?;
    daemon.ok("reload")?;
    for vip in VIPS {
        assert_eq!(client.quick_requests(vip, 5)?, tally([("web-1", 5)]), "{vip}");
        let gone = client.output(&format!("curl -s --max-time 1 {}", url(foreign(vip, 5), "/")))?;
        ensure!(!gone.status.success(), "{vip}: still answered");
    }
    ensure!(reason(daemon, "pass", "not_ours") > before, "left to the kernel");
    Ok(())
}
