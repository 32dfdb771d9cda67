//! Probes of the VIP other than HTTP over TCP: datagrams, echoes, TLS, a backend on this host, and VIPs of the other
//! family.
//!
//! One backend runs all servers; each case is a service of its own. They are healthy, then lose the VIPs, then are
//! healthy again.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{
    Daemon, Lab, Node, OTHER_VIP4, OTHER_VIP6, Plan, TLS_NAME, VIP4, VIP6, missing_servers,
};

use crate::common::{all_up, backend, backend_of, lab, service, state_contains};

/// A service on the backend, and its advisor.
struct Case {
    name: &'static str,
    vip: IpAddr,
    port: u16,
    protocol: &'static str,
    advisor: String,
    /// The backend's configured address.
    address: IpAddr,
}

fn cases(node: &Node) -> Vec<Case> {
    let (v4, v6) = (IpAddr::V4(node.v4()), IpAddr::V6(node.v6()));
    let own = |vip: IpAddr| if vip.is_ipv4() { v4 } else { v6 };
    let case = |name, vip: IpAddr, port, protocol, advisor: &str, address| Case {
        name,
        vip,
        port,
        protocol,
        advisor: advisor.to_owned(),
        address,
    };
    let ca = node.directory().join("ca.pem");
    let tls = format!("host = \"{TLS_NAME}\", tls_verify = true, tls_ca_file = {ca:?}");
    let (https, tls) = (format!("kind = \"https\", {tls}"), format!("kind = \"tls\", {tls}"));
    let dns = "kind = \"dns\", query = \"up.example\"";
    let udp = "kind = \"udp\", request = \"70696e67\", response = \"776562\"";
    let mut cases = Vec::new();
    for (names, vip) in [
        (["dns4", "dnstcp4", "udp4", "ping4"], IpAddr::V4(VIP4)),
        (["dns6", "dnstcp6", "udp6", "ping6"], IpAddr::V6(VIP6)),
    ] {
        cases.push(case(names[0], vip, 53, "udp", dns, own(vip)));
        cases.push(case(names[1], vip, 53, "tcp", dns, own(vip)));
        cases.push(case(names[2], vip, 7, "udp", udp, own(vip)));
        cases.push(case(names[3], vip, 9, "tcp", "kind = \"ping\"", own(vip)));
    }
    cases.extend([
        case("tls", VIP4.into(), 443, "tcp", &tls, v4),
        case("https", OTHER_VIP4.into(), 443, "tcp", &https, v4),
        // The backend's address is of the other family than the VIP.
        case("web4by6", OTHER_VIP4.into(), 80, "tcp", "kind = \"http\"", v6),
        case("web6by4", OTHER_VIP6.into(), 80, "tcp", "kind = \"http\"", v4),
        case("dns4by6", OTHER_VIP4.into(), 53, "udp", dns, v6),
        case("ping6by4", OTHER_VIP6.into(), 9, "tcp", "kind = \"ping\"", v4),
    ]);
    cases
}

fn configuration(lab: &Lab, cases: &[Case]) -> String {
    let times = "interval = \"300ms\", connect_timeout = \"700ms\", receive_timeout = \"700ms\"";
    let mut text = String::new();
    for case in cases {
        text += service(case.name, case.vip, case.port, case.protocol).trim_end();
        text += &format!("\nadvisor = {{ {}, {times} }}\n\n", case.advisor);
        text += &backend("web-1", case.address, 1);
    }
    for (name, vip) in [("here4", IpAddr::V4(VIP4)), ("here6", IpAddr::V6(VIP6))] {
        text += service(name, vip, 80, "tcp").trim_end();
        text += &format!("\nadvisor = {{ kind = \"http\", {times} }}\n\n");
        let here = if vip.is_ipv4() { lab.lb.v4().into() } else { lab.lb.v6().into() };
        text += backend("lb", here, 1).trim_end();
        text += "\nlocal = true\n\n";
    }
    text
}

/// Each backend has had a good probe, and none that failed.
fn all_probed(daemon: &Daemon, cases: &[Case]) -> Result<()> {
    let backends = cases.iter().map(|case| (case.name, "web-1"));
    for (service, backend) in backends.chain([("here4", "lb"), ("here6", "lb")]) {
        let advisor = backend_of(daemon, service, backend)?["advisor"].clone();
        let probes = &advisor["probes"];
        let good = probes["success"].as_u64().with_context(|| format!("{service}: {advisor}"))?;
        ensure!(good > 2 && probes["failure"] == 0, "{service}: {advisor}\n{}", daemon.log());
    }
    Ok(())
}

#[test]
fn vips_are_probed_by_every_way_and_missed() -> Result<()> {
    let Some(lab) = lab(&Plan::new("vipkinds").backends(1))? else { return Ok(()) };
    if let Some(missing) = missing_servers() {
        ensure!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let node = &lab.backends[0];
    let mut here = lab.lb.serve_web()?;
    let _servers = [node.serve_web()?, node.serve_tls()?, node.serve_names()?];
    let addresses: [IpAddr; 4] = [VIP4.into(), VIP6.into(), node.v4().into(), node.v6().into()];
    let _echo = lab.serve_udp(&addresses.map(|address| SocketAddr::new(address, 7)))?;
    // Servers that have just started do not listen yet.
    for port in [53, 80, 443] {
        let to = SocketAddr::new(node.v4().into(), port);
        dispatcher_lab::eventually(Duration::from_secs(10), "servers that listen", || {
            node.enter(|| Ok(std::net::TcpStream::connect(to).is_ok()))
        })?;
    }
    let cases = cases(node);
    let mut daemon = lab.daemon(&configuration(&lab, &cases))?;
    daemon.start()?;
    all_up(&daemon)?;
    std::thread::sleep(Duration::from_secs(3));
    all_probed(&daemon, &cases)?;
    let vips: [(IpAddr, u8); 4] =
        [(VIP4.into(), 32), (OTHER_VIP4.into(), 32), (VIP6.into(), 128), (OTHER_VIP6.into(), 128)];
    for (vip, length) in vips {
        node.ip(&format!("addr del {vip}/{length} dev lo"))?;
    }
    for case in &cases {
        let what = "is the VIP on its loopback?";
        let state = state_contains(&daemon, case.name, "web-1", what, 10)
            .with_context(|| case.name.to_owned())?;
        ensure!(state.contains(&format!("though {}", own(case))), "{}: {state}", case.name);
    }
    // Nothing has changed for the backend on this host.
    for service in ["here4", "here6"] {
        state_contains(&daemon, service, "lb", "\"up\"", 0)?;
    }
    here.kill();
    for service in ["here4", "here6"] {
        state_contains(&daemon, service, "lb", "connection refused", 10)?;
    }
    for (vip, _) in vips {
        node.hold_vip(vip)?;
    }
    let _here = lab.lb.serve_web()?;
    all_up(&daemon)?;
    Ok(())
}

/// The backend's own address as reasons show it: an echo has no port.
fn own(case: &Case) -> String {
    if case.advisor.contains("ping\"") {
        return case.address.to_string();
    }
    SocketAddr::new(case.address, case.port).to_string()
}
