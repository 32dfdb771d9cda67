//! Helpers for all end-to-end tests.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{self as lab, Daemon, Lab, Plan, Process, Tally, VIP4, VIP6, eventually};
use serde_json::Value;

/// A laboratory, or the reason why there is none on standard error.
pub(crate) fn lab(plan: &Plan) -> Result<Option<Lab>> {
    match lab::missing() {
        None => Lab::new(plan).map(Some),
        Some(missing) => {
            ensure!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            Ok(None)
        }
    }
}

/// The VIPs of both families.
pub(crate) const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP4), IpAddr::V6(VIP6)];

/// The name of the service for a VIP's family: `web4` or `web6`.
pub(crate) fn web(vip: IpAddr) -> &'static str {
    if vip.is_ipv4() { "web4" } else { "web6" }
}

/// A service's table, without backends.
pub(crate) fn service(name: &str, vip: IpAddr, port: u16, protocol: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n\n"
    )
}

/// A backend's table.
pub(crate) fn backend(name: &str, address: IpAddr, weight: u32) -> String {
    format!(
        "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n\n"
    )
}

/// The services `web4` and `web6`: HTTP on the backends in order with these weights; `web6` uses their IPv6 addresses.
pub(crate) fn web_services(lab: &Lab, weights: &[u32]) -> String {
    let mut text = String::new();
    for vip in VIPS {
        text += &service(web(vip), vip, 80, "tcp");
        for (node, weight) in lab.backends.iter().zip(weights) {
            text += &backend(node.name(), address_of(node, vip), *weight);
        }
    }
    text
}

/// A node's address of a VIP's family.
pub(crate) fn address_of(node: &lab::Node, vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { node.v4().into() } else { node.v6().into() }
}

/// A laboratory with web servers, and a daemon that balances over them with these weights.
pub(crate) struct Web {
    // Dropped in this order.
    pub(crate) daemon: Daemon,
    pub(crate) _servers: Vec<Process>,
    pub(crate) lab: Lab,
}

impl Web {
    /// `web4` and `web6` with these weights; all backends are resolved. `None`: skipped.
    pub(crate) fn start(name: &str, weights: &[u32]) -> Result<Option<Self>> {
        let plan = Plan::new(name).backends(u8::try_from(weights.len())?);
        let Some(lab) = lab(&plan)? else { return Ok(None) };
        let _servers = lab.serve_web()?;
        let mut daemon = lab.daemon(&web_services(&lab, weights))?;
        daemon.start()?;
        all_up(&daemon)?;
        Ok(Some(Self { daemon, _servers, lab }))
    }

    /// Makes this many requests to a VIP with one curl process.
    pub(crate) fn requests(&self, vip: IpAddr, number: u32) -> Result<Tally> {
        self.lab.client().quick_requests(vip, number)
    }
}

/// The expected tally.
pub(crate) fn tally(counts: impl IntoIterator<Item = (&'static str, u32)>) -> Tally {
    counts.into_iter().filter(|(_, n)| *n > 0).map(|(who, n)| (who.to_owned(), n)).collect()
}

/// Waits until every backend of every service is up.
pub(crate) fn all_up(daemon: &Daemon) -> Result<()> {
    eventually(Duration::from_secs(10), "backends that are all up", || {
        let status = daemon.json("status")?;
        let services = status["services"].as_array().context("services")?;
        let mut backends = services.iter().filter_map(|s| s["backends"].as_array()).flatten();
        let down = backends.find(|b| b["up"] != true);
        ensure!(down.is_none(), "{}: {}", down.unwrap()["name"], down.unwrap()["state"]);
        Ok(true)
    })
}

/// A service's object in `status`.
pub(crate) fn service_of(daemon: &Daemon, service: &str) -> Result<Value> {
    let status = daemon.json("status")?;
    let services = status["services"].as_array().context("services")?;
    services
        .iter()
        .find(|s| s["name"] == service)
        .cloned()
        .with_context(|| format!("service {service} is not in {status}"))
}

/// A backend's object in `status`.
pub(crate) fn backend_of(daemon: &Daemon, service: &str, backend: &str) -> Result<Value> {
    let service = service_of(daemon, service)?;
    let backends = service["backends"].as_array().context("backends")?;
    backends
        .iter()
        .find(|b| b["name"] == backend)
        .cloned()
        .with_context(|| format!("backend {backend} is not in {service}"))
}

/// Waits until a backend's state in `status` contains this text.
pub(crate) fn state_contains(
    daemon: &Daemon,
    service: &str,
    backend: &str,
    text: &str,
    within: u64,
) -> Result<String> {
    let mut state = String::new();
    eventually(Duration::from_secs(within), &format!("state {text:?} of {backend}"), || {
        state = backend_of(daemon, service, backend)?["state"].to_string();
        Ok(state.contains(text))
    })
    .with_context(|| format!("last state: {state}"))?;
    Ok(state)
}

/// The value of a backend's counter or gauge in the metrics.
pub(crate) fn backend_metric(
    daemon: &Daemon,
    what: &str,
    service: &str,
    backend: &str,
) -> Result<f64> {
    let labels = [format!("service=\"{service}\""), format!("backend=\"{backend}\"")];
    daemon.metric(&format!("dispatcher_backend_{what}"), &[&labels[0], &labels[1]])
}

/// Packets with this verdict and reason, from the metrics; 0 without a sample.
pub(crate) fn reason(daemon: &Daemon, verdict: &str, reason: &str) -> f64 {
    let labels = [format!("verdict=\"{verdict}\""), format!("reason=\"{reason}\"")];
    daemon.metric("dispatcher_packets_total", &[&labels[0], &labels[1]]).unwrap_or(0.0)
}

/// A file of this length that does not repeat, the same every time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Puts a file on every backend, below `/files/`.
pub(crate) fn publish(lab: &Lab, name: &str, bytes: &[u8]) -> Result<()> {
    for backend in &lab.backends {
        std::fs::write(backend.directory().join("files").join(name), bytes)?;
    }
    Ok(())
}

/// A laboratory of web servers that have `/files/big`, and a daemon whose services reset clients of a backend that is
/// down.
pub(crate) fn resetting(name: &str, backends: u8) -> Result<Option<Web>> {
    let Some(lab) = lab(&Plan::new(name).backends(backends))? else { return Ok(None) };
    let _servers = lab.serve_web()?;
    publish(&lab, "big", &noise(60_000_000))?;
    let tcp = "protocol = \"tcp\"\n";
    let services = web_services(&lab, &vec![1; usize::from(backends)]);
    let mut daemon = lab.daemon(&services.replace(tcp, &format!("{tcp}on_down = \"reset\"\n")))?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(Some(Web { daemon, _servers, lab }))
}

/// A hexadecimal dump short enough for an assertion's message.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(120) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
