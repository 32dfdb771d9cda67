//! Passive signals: a backend that clients cannot reach goes down, although its probes are good.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Honest, Plan, SPOOFED_NET, VIP4, VIP6, eventually};
use dispatcher_tests::packet_builder::{SYN, eth};

use crate::common::{VIPS, all_up, backend_of, lab, state_contains, tally, web, web_services};

const PROTOCOL: &str = "protocol = \"tcp\"\n";

/// Probes use the backends' own addresses, so they never notice. For IPv4 the service counts retries, for IPv6
/// unanswered SYNs.
fn configuration(services: &str) -> String {
    let advised = |passive: &str| {
        format!(
            "{PROTOCOL}syn_timeout = \"1s\"\nadvisor = {{ kind = \"http\", target = \"address\", \
             interval = \"1h\", fall = 2, passive = {{ window = \"1s\", {passive} }} }}\n"
        )
    };
    let services = services.replacen(PROTOCOL, &advised("retried = 2"), 1);
    match services.rsplit_once(PROTOCOL) {
        Some((before, after)) => format!("{before}{}{after}", advised("unanswered = 2")),
        None => services,
    }
}

#[test]
fn a_backend_that_clients_do_not_reach_is_down_until_a_probe_is_good() -> Result<()> {
    let Some(lab) = lab(&Plan::new("passive").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let mut daemon = lab.daemon(&configuration(&web_services(&lab, &[1, 1])))?;
    daemon.start()?;
    all_up(&daemon)?;
    let broken = &lab.backends[1];
    let probed = || Ok(backend_of(&daemon, "web4", "web-2")?["advisor"]["probes"]["success"] == 1);
    eventually(Duration::from_secs(5), "the one good probe", probed)?;
    let clients: Vec<_> =
        VIPS.iter().map(|vip| Honest::start(lab.client(), SocketAddr::new(*vip, 80), 20)).collect();
    // Clients that get through are no signal against a backend.
    std::thread::sleep(Duration::from_secs(4));
    for vip in VIPS {
        state_contains(&daemon, web(vip), "web-2", "\"up\"", 0)?;
    }
    broken.ip(&format!("addr del {VIP4}/32 dev lo"))?;
    broken.ip(&format!("addr del {VIP6}/128 dev lo"))?;
    let four = state_contains(&daemon, "web4", "web-2", "down: passive: ", 10)?;
    ensure!(four.contains("handshakes retried in 1s, expected less than 2"), "{four}");
    let six = state_contains(&daemon, "web6", "web-2", "down: passive: ", 40)?;
    ensure!(six.contains("handshakes unanswered in 1s, expected less than 2"), "{six}");
    for client in clients {
        client.stop()?;
    }
    for vip in VIPS {
        assert_eq!(lab.client().quick_requests(vip, 10)?, tally([("web-1", 10)]), "{vip}");
        // No probe has failed, and none was made meanwhile.
        let advisor = backend_of(&daemon, web(vip), "web-2")?["advisor"].clone();
        ensure!(
            advisor["probes"]["failure"] == 0 && advisor["probes"]["success"] == 1,
            "{advisor}"
        );
        ensure!(advisor["last_error"].to_string().contains("passive: "), "{advisor}");
    }
    broken.ip(&format!("addr add {VIP4}/32 dev lo"))?;
    broken.ip(&format!("addr add {VIP6}/128 dev lo nodad"))?;
    std::thread::sleep(Duration::from_secs(2));
    state_contains(&daemon, "web4", "web-2", "down: passive: ", 0)?;
    // A shorter interval: it is probed now.
    daemon.edit("interval = \"1h\"", "interval = \"500ms\"")?;
    daemon.ok("reload")?;
    all_up(&daemon)?;
    for vip in VIPS {
        let served = lab.client().quick_requests(vip, 10)?;
        assert_eq!(served, tally([("web-1", 5), ("web-2", 5)]), "{vip}");
    }
    Ok(())
}

/// Every SYN of the flood leaves a half-open connection, on both backends.
#[test]
fn a_flood_of_spoofed_syns_takes_no_backend_down() -> Result<()> {
    let Some(lab) = lab(&Plan::new("passflood").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    // Answers to spoofed addresses end here.
    lab.switch.ip(&format!("route add blackhole {SPOOFED_NET}"))?;
    let services = web_services(&lab, &[1, 1]);
    let advisor = "kind = \"http\", target = \"address\", interval = \"1h\", \
                   passive = { window = \"1s\", retried = 2, unanswered = 2 }";
    let advised = format!("{PROTOCOL}syn_timeout = \"1s\"\nadvisor = {{ {advisor} }}\n");
    let mut daemon = lab.daemon(&services.replace(PROTOCOL, &advised))?;
    daemon.start()?;
    all_up(&daemon)?;
    let (port, mac) = (lab.port(&lab.lb, "eth0"), [2, 0, 0, 0, 0, 1]);
    let flood = lab.switch.flood(&port, mac, SocketAddrV4::new(VIP4, 80), Some(500))?;
    // Longer than the timeout of half-open connections, and several windows more.
    std::thread::sleep(Duration::from_secs(20));
    ensure!(flood.stop()? > 5000);
    let status = daemon.json("status")?;
    let expired =
        status["connections"]["connections_expired"]["syn"].as_u64().context("expired")?;
    ensure!(expired > 3000, "{expired} half-open connections ran out");
    for backend in ["web-1", "web-2"] {
        let shown = backend_of(&daemon, "web4", backend)?;
        ensure!(shown["up"] == true && shown["advisor"]["last_error"].is_null(), "{shown}");
    }
    Ok(())
}

/// A few tuples whose SYNs are sent repeatedly, while clients get through.
#[test]
fn a_few_forged_syns_take_no_backend_down() -> Result<()> {
    let Some(lab) = lab(&Plan::new("passforged").backends(3))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    lab.switch.ip(&format!("route add blackhole {SPOOFED_NET}"))?;
    let advisor = "kind = \"http\", target = \"address\", interval = \"1h\", \
                   passive = { window = \"1s\", retried = 4 }";
    let advised = format!("{PROTOCOL}advisor = {{ {advisor} }}\n");
    let services = web_services(&lab, &[1, 1, 1]);
    let mut daemon = lab.daemon(&services.replace(PROTOCOL, &advised))?;
    daemon.start()?;
    all_up(&daemon)?;
    let client = Honest::start(lab.client(), SocketAddr::new(VIPS[0], 80), 60);
    let to = [2, 0, 0, 0, 0, 1];
    let syn = |port| {
        eth().to(to).ipv4(Ipv4Addr::new(100, 0, 0, 9), VIP4).tcp(port, 80, SYN).build().bytes
    };
    // First two tuples, for one or two backends; then so many that each backend gets more than the threshold.
    for tuples in [2, 18] {
        let frames: Vec<_> = (0..tuples).map(|tuple| syn(5000 + tuple)).collect();
        for _ in 0..20 {
            lab.client().send_frames("eth0", &frames)?;
            std::thread::sleep(Duration::from_millis(150));
        }
    }
    client.stop()?;
    let mut seen = 0;
    for backend in ["web-1", "web-2", "web-3"] {
        let shown = backend_of(&daemon, "web4", backend)?;
        ensure!(shown["up"] == true && shown["advisor"]["last_error"].is_null(), "{shown}");
        seen += shown["retransmissions"].as_u64().context("retransmissions")?;
    }
    ensure!(seen > 300, "{seen} SYNs were seen again");
    Ok(())
}
