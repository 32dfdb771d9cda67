//! Names of NICs: a renamed NIC is followed, alternative names are understood, the kernel's name is shown.

use std::time::Duration;

use anyhow::{Result, ensure};
use dispatcher_lab::eventually;

use crate::common::{VIPS, Web, all_up, tally};

fn serves(web: &Web) -> Result<()> {
    for vip in VIPS {
        assert_eq!(web.requests(vip, 10)?, tally([("web-1", 5), ("web-2", 5)]), "{vip}");
    }
    Ok(())
}

/// Waits until this NIC, and no other, is attached.
fn attached(web: &Web, name: &str) -> Result<()> {
    eventually(Duration::from_secs(5), &format!("{name} attached"), || {
        let interfaces = web.daemon.json("status")?["interfaces"].clone();
        let one = interfaces.as_array().is_some_and(|all| all.len() == 1);
        Ok(one && interfaces[0]["name"] == name && interfaces[0]["attached"] == true)
    })
}

#[test]
fn a_renamed_nic_goes_on_forwarding_and_the_files_name_is_missed() -> Result<()> {
    let Some(mut web) = Web::start("rename", &[1, 1])? else { return Ok(()) };
    web.lab.lb.ip("link set eth0 name lan0")?;
    attached(&web, "lan0")?;
    all_up(&web.daemon)?;
    serves(&web)?;
    ensure!(web.daemon.log().contains("eth0: is called lan0 now"), "{}", web.daemon.log());
    ensure!(web.daemon.metric("dispatcher_packets_total", &["interface=\"lan0\""])? > 0.0);
    let said = web.daemon.ok("reload")?;
    ensure!(said.contains("is called lan0 now"), "{said}");
    let status = web.daemon.ok("status")?;
    ensure!(status.contains("warning: interface eth0 of"), "{status}");
    serves(&web)?;
    // Renamed again while no controller runs, and back.
    web.daemon.kill();
    web.lab.lb.ip("link set lan0 name lan1")?;
    web.daemon.start()?;
    attached(&web, "lan1")?;
    serves(&web)?;
    // The file agrees with the host: nothing changes, and nothing is missing.
    web.daemon.edit("[\"eth0\"]", "[\"lan1\"]")?;
    web.daemon.ok("reload")?;
    attached(&web, "lan1")?;
    assert_eq!(web.daemon.json("status")?["warnings"].to_string(), "[]");
    serves(&web)?;
    assert_eq!(web.daemon.stop()?, Some(0));
    let left = web.lab.lb.ip("-o addr show dev lan1")?;
    ensure!(VIPS.iter().all(|vip| !left.contains(&format!(" {vip}/"))), "{left}");
    Ok(())
}

#[test]
fn a_new_nic_of_the_old_name_is_another_one_until_the_file_is_read() -> Result<()> {
    let Some(web) = Web::start("rename-new", &[1, 1])? else { return Ok(()) };
    let lb = &web.lab.lb;
    lb.ip("link set eth0 name lan0")?;
    attached(&web, "lan0")?;
    lb.ip("link add eth0 type veth peer name other")?;
    lb.ip("link set eth0 up")?;
    serves(&web)?;
    attached(&web, "lan0")?;
    web.daemon.ok("reload")?;
    attached(&web, "eth0")?;
    let addresses = |nic: &str| lb.ip(&format!("-o addr show dev {nic}"));
    let vip = format!(" {}/32 ", VIPS[0]);
    ensure!(addresses("eth0")?.contains(&vip) && !addresses("lan0")?.contains(&vip));
    Ok(())
}

#[test]
fn an_alternative_name_is_understood_and_the_kernels_is_shown() -> Result<()> {
    let Some(mut web) = Web::start("altname", &[1, 1])? else { return Ok(()) };
    web.lab.lb.ip("link property add dev eth0 altname uplink-of-lb")?;
    web.daemon.edit("[\"eth0\"]", "[\"uplink-of-lb\"]")?;
    web.daemon.ok("reload")?;
    attached(&web, "eth0")?;
    serves(&web)?;
    web.daemon.ok("detach uplink-of-lb")?;
    let said = web.daemon.ok("attach uplink-of-lb")?;
    ensure!(said.contains("interface eth0: attached"), "{said}");
    // Saving another change leaves the name as it was written.
    web.daemon.ok("weight web4 web-1 1 --save")?;
    let file = std::fs::read_to_string(web.daemon.config())?;
    ensure!(file.contains("[\"uplink-of-lb\"]"), "{file}");
    assert_eq!(web.daemon.stop()?, Some(0));
    web.daemon.start()?;
    attached(&web, "eth0")?;
    all_up(&web.daemon)?;
    serves(&web)
}
