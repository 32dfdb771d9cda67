//! Packets that come back: from a dispatcher that is a backend, and from a backend that forwards.

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Lab, Node, Plan, VIP4, VIP6, url, xdp};

use crate::common::{
    VIPS, address_of, all_up, backend, lab, reason, service, state_contains, tally, web,
    web_services,
};

/// Frames that a node has received.
fn frames(node: &Node) -> Result<u64> {
    let text = node.run("cat /proc/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)).context("eth0")?;
    Ok(number.parse()?)
}

/// `web4` and `web6` on this node and on another.
fn services(here: &Node, other: &Node) -> String {
    let mut text = String::new();
    for vip in VIPS {
        text += &service(web(vip), vip, 80, "tcp");
        text += backend(here.name(), address_of(here, vip), 1).trim_end();
        text += "\nlocal = true\n\n";
        text += &backend(other.name(), address_of(other, vip), 1);
    }
    text
}

/// Lets a node's NIC send by XDP, like that of the dispatcher's host.
fn for_xdp(lab: &Lab, node: &Node) -> Result<()> {
    let port = lab.port(node, "eth0");
    xdp::pass(&lab.switch, &port)?;
    lab.switch.run(&format!("ethtool -K {port} tx off txvlan off tx-vlan-stag-hw-insert off"))?;
    Ok(())
}

#[test]
fn two_dispatchers_may_be_each_others_backends() -> Result<()> {
    let Some(lab) = lab(&Plan::new("loops").backends(1))? else { return Ok(()) };
    let (first, second) = (&lab.lb, &lab.backends[0]);
    let _servers = (lab.serve_web()?, first.serve_web()?);
    for_xdp(&lab, second)?;
    let mut one = lab.daemon(&services(first, second))?;
    let mut two = lab.daemon_on(second, "manage_vips = false\n", &services(second, first))?;
    one.start()?;
    two.start()?;
    all_up(&one)?;
    all_up(&two)?;
    for vip in VIPS {
        let before = frames(first)? + frames(second)?;
        let got = lab.client().quick_requests(vip, 20)?;
        assert_eq!(got, tally([("lb", 10), ("web-1", 10)]), "{vip}");
        let passed = frames(first)? + frames(second)? - before;
        ensure!(passed < 1000, "{vip}: {passed} frames for 20 requests");
    }
    // The second must serve what the first forwarded to it.
    ensure!(reason(&two, "pass", "local") > 0.0 && reason(&two, "tx", "forwarded") == 0.0);
    Ok(())
}

#[test]
fn a_backend_that_forwards_is_named_and_gets_each_packet_once() -> Result<()> {
    let Some(lab) = lab(&Plan::new("forwards").backends(1))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let node = &lab.backends[0];
    node.ip(&format!("addr del {VIP4}/32 dev lo"))?;
    node.ip(&format!("addr del {VIP6}/128 dev lo"))?;
    node.sysctl("net.ipv4.ip_forward", "1")?;
    node.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    let advisor = "protocol = \"tcp\"\nadvisor = { kind = \"http\", interval = \"300ms\" }\n";
    let services = web_services(&lab, &[1]).replace("protocol = \"tcp\"\n", advisor);
    let mut daemon = lab.daemon(&services)?;
    daemon.start()?;
    for vip in VIPS {
        let state = state_contains(&daemon, web(vip), node.name(), "forwards packets", 15)?;
        let own = address_of(node, vip);
        let named =
            format!("no connection: {own} forwards packets for the VIP instead of answering");
        ensure!(state.contains(&named), "{state}");
    }
    // No backend is up, so clients' connections go to it nevertheless.
    for vip in VIPS {
        let (looped, before) = (reason(&daemon, "drop", "loop"), frames(&lab.lb)?);
        let line = format!("curl -s -o /dev/null --max-time 1 {}", url(vip, "/"));
        let curl = lab.client().output(&line)?;
        ensure!(!curl.status.success(), "{vip} answers");
        let dropped = reason(&daemon, "drop", "loop") - looped;
        let passed = frames(&lab.lb)? - before;
        ensure!((1.0..5.0).contains(&dropped), "{vip}: {dropped} packets were dropped as looped");
        ensure!(passed < 200, "{vip}: {passed} frames for a few SYNs");
    }
    Ok(())
}
