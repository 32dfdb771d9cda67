//! VIPs on the NIC: a removed one comes back, and status names what prevents it.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, VIP4, eventually, undisturbed};

use crate::common::{VIPS, Web, all_up, lab, tally, web_services};

/// A VIP in the form in which it is put on a NIC.
fn placed(vip: IpAddr) -> String {
    format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 })
}

fn is_there(lab: &Lab, vip: IpAddr) -> Result<bool> {
    Ok(lab.lb.ip("-o addr show dev eth0")?.contains(&format!(" {} ", placed(vip))))
}

/// Waits until both VIPs are there.
fn back(lab: &Lab, within: Duration) -> Result<()> {
    for vip in VIPS {
        eventually(within, &format!("{vip} on eth0"), || is_there(lab, vip))?;
    }
    Ok(())
}

/// Clients that do not know the host's MAC are served.
fn serves(web: &Web) -> Result<()> {
    all_up(&web.daemon)?;
    for vip in VIPS {
        web.lab.client().ip(&format!("neigh flush to {vip}"))?;
        assert_eq!(web.requests(vip, 10)?, tally([("web-1", 5), ("web-2", 5)]), "{vip}");
    }
    Ok(())
}

fn warnings(daemon: &Daemon) -> Result<String> {
    Ok(daemon.json("status")?["warnings"].to_string())
}

/// The host's own addresses, as its network configuration sets them at boot.
fn own_addresses(lab: &Lab) -> Result<()> {
    lab.lb.ip(&format!("addr replace {}/24 dev eth0", lab.lb.v4()))?;
    lab.lb.ip(&format!("addr replace {}/64 dev eth0 nodad", lab.lb.v6()))?;
    Ok(())
}

#[test]
fn a_vip_that_is_removed_is_back_within_a_second_and_announced() -> Result<()> {
    let Some(web) = Web::start("vip-lost", &[1, 1])? else { return Ok(()) };
    let (lab, client) = (&web.lab, web.lab.client());
    undisturbed(Duration::from_millis(300), || {
        for vip in VIPS {
            // A client that believes the VIP to be elsewhere.
            client.ip(&format!(
                "neigh replace {vip} dev eth0 lladdr 02:00:00:00:00:99 nud reachable"
            ))?;
            lab.lb.ip(&format!("addr del {} dev eth0", placed(vip)))?;
            eventually(Duration::from_secs(1), &format!("{vip} on eth0"), || is_there(lab, vip))?;
            eventually(Duration::from_secs(1), "an announcement", || {
                Ok(client.ip(&format!("neigh show {vip}"))?.contains(&lab.lb.mac()))
            })?;
        }
        Ok(())
    })?;
    serves(&web)?;
    for vip in VIPS {
        let said = format!("eth0: VIP {vip} was taken away");
        ensure!(web.daemon.log().contains(&said), "{}", web.daemon.log());
    }
    Ok(())
}

#[test]
fn a_network_restart_and_a_link_that_goes_down_leave_the_vips() -> Result<()> {
    let Some(web) = Web::start("vip-flush", &[1, 1])? else { return Ok(()) };
    let lab = &web.lab;
    lab.lb.ip("addr flush dev eth0 scope global")?;
    own_addresses(lab)?;
    back(lab, Duration::from_secs(2))?;
    serves(&web)?;
    lab.lb.ip("link set eth0 down")?;
    // Wait until the daemon has noticed. The IPv6 VIP disappears with the NIC's state.
    eventually(Duration::from_secs(5), "an IPv6 VIP that is gone", || {
        Ok(!is_there(lab, VIPS[1])?)
    })?;
    lab.lb.ip("link set eth0 up")?;
    own_addresses(lab)?;
    back(lab, Duration::from_secs(2))?;
    serves(&web)?;
    assert_eq!(warnings(&web.daemon)?, "[]");
    Ok(())
}

#[test]
fn who_takes_a_vip_away_again_and_again_is_warned_of_and_not_raced() -> Result<()> {
    let Some(web) = Web::start("vip-fight", &[1])? else { return Ok(()) };
    let (lab, vip) = (&web.lab, VIPS[0]);
    let mut longest = 0;
    for _ in 0..6 {
        lab.lb.ip(&format!("addr del {} dev eth0", placed(vip)))?;
        let start = std::time::Instant::now();
        eventually(Duration::from_secs(5), "the VIP", || is_there(lab, vip))?;
        longest = longest.max(start.elapsed().as_millis());
    }
    // The sixth time: the pause of 1 s was followed by one of 2 s.
    ensure!(longest >= 1500, "put back within {longest} ms each time");
    let said = warnings(&web.daemon)?;
    ensure!(said.contains("eth0: VIP 10.0.0.80 was taken away 6 times"), "{said}");
    ensure!(said.contains("keepalived"), "{said}");
    let status = web.daemon.ok("status")?;
    ensure!(status.contains("warning: eth0: VIP 10.0.0.80 was taken away"), "{status}");
    Ok(())
}

#[test]
fn an_address_of_the_operators_is_missed_and_left_alone() -> Result<()> {
    let Some(lab) = lab(&Plan::new("vip-own").backends(1))? else { return Ok(()) };
    let own = format!("{VIP4}/24");
    lab.lb.ip(&format!("addr add {own} dev eth0"))?;
    let mut daemon = lab.daemon(&web_services(&lab, &[1]))?;
    daemon.start()?;
    // A change of the running state does not make the address ours.
    daemon.ok("service add other --vip 10.0.0.81 --port 80 --protocol tcp")?;
    assert!(!is_there(&lab, VIPS[0])? && is_there(&lab, "10.0.0.81".parse()?)?);
    lab.lb.ip(&format!("addr del {own} dev eth0"))?;
    eventually(Duration::from_secs(3), "a warning", || {
        Ok(warnings(&daemon)?.contains("eth0: VIP 10.0.0.80 is missing"))
    })?;
    assert!(!is_there(&lab, VIPS[0])?);
    lab.lb.ip(&format!("addr add {own} dev eth0"))?;
    eventually(Duration::from_secs(3), "no warning", || Ok(warnings(&daemon)? == "[]"))?;
    assert_eq!(daemon.stop()?, Some(0));
    let left = lab.lb.ip("-o addr show dev eth0")?;
    ensure!(left.contains(&own) && !left.contains("10.0.0.81"), "{left}");
    // Configured to, the daemon adds a VIP of its own for the missing one.
    daemon.start()?;
    lab.lb.ip(&format!("addr del {own} dev eth0"))?;
    eventually(Duration::from_secs(3), "a warning", || Ok(warnings(&daemon)? != "[]"))?;
    daemon.ok("reload")?;
    assert!(is_there(&lab, VIPS[0])?);
    eventually(Duration::from_secs(3), "no warning", || Ok(warnings(&daemon)? == "[]"))?;
    assert_eq!(daemon.stop()?, Some(0));
    assert!(!is_there(&lab, VIPS[0])?);
    Ok(())
}

/// A second NIC of the dispatcher's host in the same segment.
fn second_nic(lab: &Lab) -> Result<()> {
    let namespace = lab.lb.namespace();
    lab.switch.ip(&format!("link add lb.eth1 type veth peer name eth1 netns {namespace}"))?;
    lab.switch.ip("link set lb.eth1 master br0 up")?;
    lab.lb.ip("link set eth1 address 02:00:00:00:00:51 up")?;
    lab.lb.ip("addr add 10.0.0.201/24 dev eth1")?;
    lab.lb.ip("addr add fd00::201/64 dev eth1 nodad")?;
    Ok(())
}

/// The MAC at which a client finds a VIP now.
fn found_at(lab: &Lab, vip: IpAddr) -> Result<String> {
    let client = lab.client();
    client.ip(&format!("neigh flush to {vip}"))?;
    let ping = if vip.is_ipv4() { "ping -4" } else { "ping -6" };
    client.output(&format!("{ping} -c1 -W1 {vip}"))?;
    let line = client.ip(&format!("neigh show {vip}"))?;
    let mac = line.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    Ok(mac.with_context(|| format!("no lladdr: {line}"))?.to_owned())
}

#[test]
fn a_second_nic_that_answers_for_a_vip_is_warned_of_or_kept_from_it() -> Result<()> {
    let Some(lab) = lab(&Plan::new("vip-arp").backends(1))? else { return Ok(()) };
    second_nic(&lab)?;
    let arp_ignore = || lab.lb.run("cat /proc/sys/net/ipv4/conf/eth1/arp_ignore");
    let mut daemon = lab.daemon(&web_services(&lab, &[1]))?;
    daemon.start()?;
    let said = warnings(&daemon)?;
    let command = "sysctl -w net.ipv4.conf.eth1.arp_ignore=1";
    ensure!(said.contains("eth1: answers ARP requests for VIP 10.0.0.80"), "{said}");
    ensure!(said.contains(command) && said.matches("arp_ignore=1").count() == 1, "{said}");
    ensure!(daemon.log().contains(command), "{}", daemon.log());
    lab.lb.run(command)?;
    assert_eq!(warnings(&daemon)?, "[]", "the command is what it takes");
    assert_eq!(found_at(&lab, VIPS[0])?, lab.lb.mac());
    lab.lb.run("sysctl -w net.ipv4.conf.eth1.arp_ignore=0")?;
    ensure!(warnings(&daemon)?.contains(command));
    // Configured to, the daemon prevents it; after a killed controller the next one undoes it.
    daemon.edit("interfaces =", "manage_arp = true\ninterfaces =")?;
    daemon.ok("reload")?;
    eventually(Duration::from_secs(3), "arp_ignore", || Ok(arp_ignore()?.trim() == "1"))?;
    assert_eq!(warnings(&daemon)?, "[]");
    for vip in VIPS {
        // IPv6 needs nothing: a solicitation is answered on the NIC that has the address.
        assert_eq!(found_at(&lab, vip)?, lab.lb.mac(), "{vip}");
    }
    daemon.kill();
    daemon.start()?;
    assert_eq!(arp_ignore()?.trim(), "1");
    assert_eq!(daemon.stop()?, Some(0));
    assert_eq!(arp_ignore()?.trim(), "0");
    daemon.edit("manage_arp = true", "manage_arp = false")?;
    daemon.start()?;
    ensure!(warnings(&daemon)?.contains(command));
    // With the datapath on that NIC, its answer is right.
    daemon.ok("attach eth1 --mode generic")?;
    eventually(Duration::from_secs(3), "no warning", || Ok(warnings(&daemon)? == "[]"))?;
    daemon.ok("detach eth1")?;
    daemon.edit("manage_arp = false", "manage_arp = true")?;
    daemon.ok("reload")?;
    eventually(Duration::from_secs(3), "arp_ignore", || Ok(arp_ignore()?.trim() == "1"))?;
    daemon.kill();
    daemon.ok(&format!("detach --all --pin-dir {}", lab.pin_dir().display()))?;
    assert_eq!(arp_ignore()?.trim(), "0");
    Ok(())
}
