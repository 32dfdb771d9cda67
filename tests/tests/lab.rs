//! The laboratory itself, on which every test with real traffic depends.

use std::net::IpAddr;

use dispatcher_lab::{self as lab, Lab, Plan};
use dispatcher_tests::packet_builder::eth;

#[test]
fn a_laboratory_serves_and_leaves_nothing_behind() -> anyhow::Result<()> {
    if let Some(missing) = lab::missing() {
        assert!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let lab = Lab::new(&Plan::new("lab").backends(2).far_backends(1).clients(2))?;
    let servers = lab.serve_web()?;
    for backend in &lab.backends {
        for address in [IpAddr::V4(backend.v4()), backend.v6().into()] {
            for client in &lab.clients {
                let tally = client.requests(address, 1)?;
                assert_eq!(tally, [(backend.name().to_owned(), 1)].into(), "{address}");
            }
            let tally = lab.client().quick_requests(address, 20)?;
            assert_eq!(tally, [(backend.name().to_owned(), 20)].into(), "{address}");
        }
    }
    let nobody = lab.client().quick_requests("10.0.0.99".parse()?, 2)?;
    assert_eq!(nobody.values().sum::<u32>(), 2);
    assert!(nobody.keys().all(|who| who.starts_with("error")), "{nobody:?}");
    let port = lab.switch.ip(&format!("link show {}", lab.port(&lab.lb, "eth0")))?;
    assert!(port.contains("xdp"), "{port}");

    let directory = lab.directory().to_owned();
    let prefix = lab.lb.namespace().trim_end_matches("-lb").to_owned();
    let pids: Vec<u32> = servers.iter().map(lab::Process::pid).collect();
    assert!(lab::eventually(std::time::Duration::from_millis(50), "end", || Ok(false)).is_err());
    drop(lab);
    let left = std::process::Command::new("ip").args(["netns", "list"]).output()?.stdout;
    assert!(!String::from_utf8_lossy(&left).contains(&prefix));
    assert!(!directory.exists());
    drop(servers);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "nginx {pid} is left");
    }
    Ok(())
}

#[test]
fn frames_are_captured_as_they_were_sent() -> anyhow::Result<()> {
    if let Some(missing) = lab::missing() {
        assert!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let lab = Lab::new(&Plan::new("frames").backends(1))?;
    let to = [2, 0, 0, 0, 0, 11];
    let (client, backend) = (lab.client(), &lab.backends[0]);
    assert_eq!(backend.mac(), "02:00:00:00:00:0b");
    client.run("ethtool -K eth0 txvlan off")?;
    let plain = eth().to(to).ipv4(client.v4(), lab::VIP4).udp(7, 7).payload(b"plain");
    let tagged = eth().vlan(5).to(to).ipv6(client.v6(), lab::VIP6).udp(7, 7).payload(b"tagged");
    let sent = [plain.build().bytes, tagged.build().bytes];
    let capture = backend.capture("eth0", "udp port 7 or (vlan and udp port 7)")?;
    client.send_frames("eth0", &sent)?;
    assert_eq!(capture.frames_at_least(2)?, sent);
    Ok(())
}
