//! Every kind of advisor against real servers: healthy, refusing, silent, late, and wrong ones.
//!
//! One backend runs all servers; each case is a service of its own with that backend, and an advisor.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use dispatcher_lab::{
    Daemon, EXPIRED, Lab, Mute, Node, Plan, Process, TLS_NAME, UdpEcho, VIP4, binary, eventually,
    missing_servers,
};
use serde_json::Value;

use crate::common::{backend, lab, service};

/// Nobody listens on this port.
const CLOSED: u16 = 9;
/// The listener on this port never sends anything.
const MUTE: u16 = 9000;
/// The agent with another key listens on this port.
const STRANGER: u16 = 10_005;
/// A server that answers two seconds late listens on the server's port plus this.
const LATE: u16 = 20_000;

/// A service, and what its advisor must find.
struct Case {
    protocol: &'static str,
    advisor: String,
    wanted: Wanted,
}

enum Wanted {
    Good,
    /// Good, but it takes more than two seconds.
    Late,
    /// Bad, for a reason that contains this.
    Bad(&'static str),
}

fn tcp(advisor: &str, wanted: Wanted) -> Case {
    Case { protocol: "tcp", advisor: advisor.to_owned(), wanted }
}

fn udp(advisor: &str, wanted: Wanted) -> Case {
    Case { protocol: "udp", advisor: advisor.to_owned(), wanted }
}

const REFUSED: Wanted = Wanted::Bad("connection refused");
const SILENT: Wanted = Wanted::Bad("no answer within 1s");

/// Kinds, their settings, and the TCP port of their server if it has one.
fn servers(files: &Path) -> Vec<(String, u16)> {
    let ca = files.join("ca.pem");
    let key = files.join("agent.key");
    let https = format!(
        "kind = \"https\", host = \"{TLS_NAME}\", expect_body = \"well\", tls_verify = true, tls_ca_file = {ca:?}"
    );
    let tls =
        format!("kind = \"tls\", host = \"{TLS_NAME}\", tls_verify = true, tls_ca_file = {ca:?}");
    vec![
        ("kind = \"http\", method = \"HEAD\"".to_owned(), 80),
        (https, 443),
        (tls, 443),
        ("kind = \"dns\", query = \"up.example\"".to_owned(), 53),
        ("kind = \"smtp\"".to_owned(), 25),
        ("kind = \"imap\"".to_owned(), 143),
        ("kind = \"pop3\"".to_owned(), 110),
        ("kind = \"ftp\"".to_owned(), 21),
        ("kind = \"ldap\"".to_owned(), 389),
        ("kind = \"nntp\"".to_owned(), 119),
        ("kind = \"sip\"".to_owned(), 5060),
        (format!("kind = \"agent\", key_file = {key:?}"), 10_004),
    ]
}

fn cases(files: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, port) in servers(files) {
        let to = |port: u16, wanted| tcp(&format!("{kind}, port = {port}"), wanted);
        cases.extend([to(port, Wanted::Good), to(CLOSED, REFUSED), to(MUTE, SILENT)]);
        cases.push(to(port + LATE, SILENT));
        let patient = format!("{kind}, port = {}, receive_timeout = \"10s\"", port + LATE);
        // The agent reports the machine's load, not the duration of the probe.
        cases.push(tcp(&patient, if port == 10_004 { Wanted::Good } else { Wanted::Late }));
    }
    for (kind, port) in [
        ("kind = \"dns\", query = \"up.example\"", 53),
        ("kind = \"sip\"", 5060),
        ("kind = \"udp\", request = \"70696e67\", response = \"77 65 62\"", 7),
    ] {
        let to = |port: u16, wanted| udp(&format!("{kind}, port = {port}"), wanted);
        cases.extend([to(port, Wanted::Good), to(CLOSED, REFUSED), to(MUTE, SILENT)]);
        cases.push(to(port + LATE, SILENT));
    }
    cases.extend([
        tcp("kind = \"connect\", port = 80", Wanted::Good),
        tcp("kind = \"connect\", port = 9000", Wanted::Good),
        tcp("kind = \"connect\", port = 9", REFUSED),
        tcp("kind = \"ping\"", Wanted::Good),
        udp("kind = \"udp\", port = 7", Wanted::Good),
    ]);
    cases.extend(lies(files));
    cases.extend(commands(files));
    cases
}

/// Servers that run but do not answer as expected.
fn lies(files: &Path) -> Vec<Case> {
    use Wanted::Bad;
    let (ca, other_key) = (files.join("ca.pem"), files.join("other.key"));
    let key = files.join("agent.key");
    vec![
        tcp("kind = \"http\", port = 80, path = \"/none\"", Bad("status 404, expected 200-399")),
        tcp("kind = \"http\", port = 80, expect_body = \"ill\"", Bad("the body lacks \"ill\"")),
        tcp("kind = \"http\", port = 80, expect_status = \"204\"", Bad("status 200, expected 204")),
        tcp("kind = \"https\", port = 443, path = \"/sick\"", Bad("status 503, expected 200-399")),
        tcp("kind = \"https\", port = 80", Bad("TLS: ")),
        tcp("kind = \"tls\", port = 25", Bad("TLS: ")),
        // Accepted unless it is verified, but never by `tls`.
        tcp("kind = \"https\", port = 8443", Wanted::Good),
        tcp("kind = \"tls\", port = 8443", Bad("the certificate expired 2020-02-01T00:00:00Z")),
        tcp(
            &format!("kind = \"https\", port = 8443, tls_verify = true, tls_ca_file = {ca:?}"),
            Bad("the certificate expired 2020-02-01T00:00:00Z"),
        ),
        tcp(
            &format!(
                "kind = \"tls\", port = 443, host = \"bad.example\", tls_verify = true, tls_ca_file = {ca:?}"
            ),
            Bad(
                "certificate: invalid peer certificate: certificate not valid for name \"bad.example\"",
            ),
        ),
        udp(
            "kind = \"dns\", port = 53, query = \"no.example\"",
            Bad("rcode nxdomain, expected noerror"),
        ),
        udp(
            "kind = \"dns\", port = 53, query = \"other.net\", expect_rcode = \"refused\"",
            Wanted::Good,
        ),
        udp(
            "kind = \"dns\", port = 53, query = \"no.example\", expect_rcode = \"nxdomain\"",
            Wanted::Good,
        ),
        udp(
            "kind = \"sip\", port = 5060, host = \"sick@lab\"",
            Bad("status 503, expected 200-299"),
        ),
        udp("kind = \"sip\", port = 7", Bad("the answer is not SIP")),
        udp(
            "kind = \"udp\", port = 7, response = \"0000\"",
            Bad("the answer begins with \"7765\", expected \"0000\""),
        ),
        tcp("kind = \"smtp\", port = 21", Bad("the answer to EHLO dispatcher is \"530 ")),
        tcp("kind = \"imap\", port = 110", Bad("the greeting is \"+OK")),
        tcp("kind = \"pop3\", port = 143", Bad("the greeting is \"* OK")),
        tcp("kind = \"ftp\", port = 119", Bad("the greeting is \"200 ")),
        tcp("kind = \"nntp\", port = 25", Bad("the greeting is \"220 ")),
        tcp("kind = \"ldap\", port = 25", Bad("the answer is not LDAP")),
        tcp(&format!("kind = \"agent\", key_file = {other_key:?}"), Bad("it has another key")),
        tcp(
            &format!("kind = \"agent\", port = {STRANGER}, key_file = {key:?}"),
            Bad("it has another key"),
        ),
        tcp(
            &format!("kind = \"agent\", port = 25, key_file = {key:?}"),
            Bad("the agent does not speak the agent's protocol"),
        ),
    ]
}

fn commands(files: &Path) -> Vec<Case> {
    use Wanted::Bad;
    let well = files.join("well.sh");
    let shell = |script: &str, wanted| {
        tcp(&format!("kind = \"exec\", command = [\"/bin/sh\", \"-c\", \"{script}\"]"), wanted)
    };
    vec![
        tcp(&format!("kind = \"exec\", command = [{well:?}], port = 81"), Wanted::Good),
        shell("echo 2500", Wanted::Late),
        shell("echo -1", Bad("the command says that it is down")),
        shell("echo ill >&2; exit 1", Bad("exit status: 1: \"ill\"")),
        shell("echo fine", Bad("the command prints \"fine\", expected a number")),
        shell("sleep 60", Bad("the command has not ended within 1s")),
    ]
}

/// The servers of the cases: on the node, the late ones, and those in this process.
struct Servers {
    processes: Vec<Process>,
    _mute: Mute,
    _echo: UdpEcho,
}

fn serve(lab: &Lab) -> Result<Servers> {
    let node = &lab.backends[0];
    let files = node.directory();
    // Report every closed port.
    node.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    let mut processes = node.serve_protocols()?;
    processes.extend([node.serve_web()?, node.serve_ftp()?]);
    for (name, key) in [("agent", "the key of this laboratory"), ("other", "some other's key")] {
        let path = files.join(format!("{name}.key"));
        fs::write(&path, key)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    processes.push(agent(node, "agent", 10_004, &["--metric", "cpu=50", "--metric", "memory=50"])?);
    processes.push(agent(node, "other", STRANGER, &[])?);
    for (_, port) in servers(files) {
        processes.push(node.serve_late("TCP", port + LATE, port)?);
    }
    for port in [53, 5060, 7] {
        processes.push(node.serve_late("UDP", port + LATE, port)?);
    }
    let script = format!(
        "#!/bin/sh\n[ \"$DISPATCHER_BACKEND $DISPATCHER_ADDRESS $DISPATCHER_PORT\" = \"web-1 {} 81\" ] && echo 12.5\n",
        node.v4()
    );
    fs::write(files.join("well.sh"), script)?;
    fs::set_permissions(files.join("well.sh"), fs::Permissions::from_mode(0o755))?;
    let mute = node.serve_mute(MUTE)?;
    let echo = lab.serve_udp(&[SocketAddr::from(([0, 0, 0, 0], 7))])?;
    Ok(Servers { processes, _mute: mute, _echo: echo })
}

pub(crate) fn agent(node: &Node, key: &str, port: u16, more: &[&str]) -> Result<Process> {
    let mut command = node.command(binary()?);
    command.args(["agent", "--interval", "200ms", "--listen", &format!("0.0.0.0:{port}")]);
    command.arg("--key-file").arg(node.directory().join(format!("{key}.key"))).args(more);
    node.spawn_command(&format!("agent-{port}"), command)
}

fn configuration(node: &Node, cases: &[Case]) -> String {
    let mut text = String::new();
    for (i, case) in (0..).zip(cases) {
        let times = "target = \"address\", interval = \"1s\"";
        let patience = match case.advisor.contains("receive_timeout") {
            true => "",
            false => ", receive_timeout = \"1s\"",
        };
        text += &service(&name(i), IpAddr::V4(VIP4), 1000 + i, case.protocol);
        text += &format!("advisor = {{ {times}{patience}, {} }}\n\n", case.advisor);
        text += &backend(node.name(), node.v4().into(), 1);
    }
    text
}

fn name(i: u16) -> String {
    format!("case-{i}")
}

/// The report's row for a service's backend.
fn reported<'a>(report: &'a Value, service: &str) -> Option<&'a Value> {
    report.as_array()?.iter().find(|row| row["service"] == service)
}

/// Whether a report agrees with the case.
fn agrees(row: &Value, wanted: &Wanted) -> bool {
    let advisor = &row["advisor"];
    let error = advisor["last_error"].as_str().unwrap_or_default();
    let load = advisor["load_seconds"].as_f64().or(advisor["system_load"].as_f64());
    let is_down = row["state"].as_str().is_some_and(|state| state.starts_with("down: "));
    match wanted {
        Wanted::Good => row["up"] == true && load.is_some(),
        Wanted::Late => row["up"] == true && load.is_some_and(|load| (2.0..9.0).contains(&load)),
        Wanted::Bad(reason) => is_down && load.is_none() && error.contains(reason),
    }
}

/// Waits until each case has its expected result.
fn all_agree(daemon: &Daemon, cases: &[Case]) -> Result<()> {
    eventually(Duration::from_secs(30), "advisors that find what is there", || {
        let report = daemon.json("advisor report")?;
        let mut others = String::new();
        for (i, case) in (0..).zip(cases) {
            match reported(&report, &name(i)) {
                Some(row) if agrees(row, &case.wanted) => {}
                row => writeln!(others, "{}: {row:?}", case.advisor)?,
            }
        }
        ensure!(others.is_empty(), "{others}");
        Ok(true)
    })
}

#[test]
fn each_kind_tells_the_well_from_the_refused_the_mute_the_late_and_the_lying() -> Result<()> {
    let Some(lab) = lab(&Plan::new("kinds").backends(1))? else { return Ok(()) };
    if let Some(missing) = missing_servers() {
        ensure!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let node = &lab.backends[0];
    let mut servers = serve(&lab)?;
    let cases = cases(node.directory());
    let mut daemon = lab.daemon(&configuration(node, &cases))?;
    daemon.start()?;
    all_agree(&daemon, &cases)?;
    certificates(&daemon, &cases)?;
    // All servers end; the healthy ones now refuse, and echoes are not answered.
    servers.processes.iter_mut().for_each(Process::kill);
    node.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    let stays = ["exec", "port = 7", "port = 9000"];
    let gone = |case: &Case| {
        let was_good = matches!(case.wanted, Wanted::Good);
        let goes = was_good && stays.iter().all(|what| !case.advisor.contains(what));
        let is_ping = case.advisor.contains("ping\"");
        goes.then_some(if is_ping { "no answer within 1s" } else { "connection refused" })
    };
    eventually(Duration::from_secs(10), "advisors that find servers gone", || {
        let report = daemon.json("advisor report")?;
        for (i, case) in (0..).zip(&cases) {
            let (Some(reason), Some(row)) = (gone(case), reported(&report, &name(i))) else {
                continue;
            };
            ensure!(agrees(row, &Wanted::Bad(reason)), "{}: {row}", case.advisor);
        }
        Ok(true)
    })
}

/// Expiry times of certificates are reported, whether these are good or not.
fn certificates(daemon: &Daemon, cases: &[Case]) -> Result<()> {
    let find = |what: &str| (0..).zip(cases).find(|(_, case)| case.advisor.contains(what));
    for (what, kind) in [("\"https\", port = 8443", "https"), ("\"tls\", port = 8443", "tls")] {
        let Some((i, _)) = find(what) else { anyhow::bail!("no case {what}") };
        let labels = [format!("service=\"{}\"", name(i)), format!("kind=\"{kind}\"")];
        let ends = daemon.metric(
            "dispatcher_advisor_certificate_expiry_timestamp_seconds",
            &labels.each_ref().map(String::as_str),
        )?;
        ensure!(ends == EXPIRED as f64, "{kind}: {ends}");
    }
    Ok(())
}

#[test]
fn an_agent_tells_its_machine_s_load() -> Result<()> {
    let Some(lab) = lab(&Plan::new("agent").backends(1))? else { return Ok(()) };
    let node = &lab.backends[0];
    let (key, load) = (node.directory().join("agent.key"), node.directory().join("load.sh"));
    fs::write(&key, "the key of this laboratory")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let says = |text: &str| -> Result<()> {
        let new = node.directory().join("load.new");
        fs::write(&new, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        Ok(fs::rename(new, &load)?)
    };
    says("echo 40")?;
    let part = format!("{}=50", load.display());
    let agent = agent(node, "agent", 10_004, &["--metric", &part, "--metric", "cpu=50"])?;
    let advisor = format!(
        "advisor = {{ kind = \"agent\", target = \"address\", interval = \"200ms\", key_file = {key:?} }}\n\n"
    );
    let services = service("web", IpAddr::V4(VIP4), 80, "tcp") + &advisor;
    let services = services + &backend(node.name(), node.v4().into(), 1);
    let mut daemon = lab.daemon(&services)?;
    daemon.start()?;
    let becomes = |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(Duration::from_secs(10), what, || {
            let report = daemon.json("advisor report")?;
            let row = &report[0];
            ensure!(is(row), "{row}; agent: {}", agent.log());
            Ok(true)
        })
    };
    let load_of = |row: &Value| row["advisor"]["system_load"].as_f64();
    let error_of =
        |row: &Value| row["advisor"]["last_error"].as_str().unwrap_or_default().to_owned();
    // Half of 40, and half of the processors' load.
    becomes("a load", &|row| load_of(row).is_some_and(|load| (20.0..=70.0).contains(&load)))?;
    let stress: Vec<_> = (0..std::thread::available_parallelism()?.get())
        .map(|i| node.spawn(&format!("stress-{i}"), "sha256sum /dev/zero"))
        .collect::<Result<_>>()?;
    becomes("a load under stress", &|row| load_of(row).is_some_and(|load| load > 65.0))?;
    drop(stress);
    says("echo -1")?;
    becomes("a backend that says that it is down", &|row| {
        row["up"] == false && error_of(row) == "the agent says that it is down"
    })?;
    says("exit 3")?;
    becomes("a load that is unknown", &|row| {
        row["up"] == false
            && load_of(row).is_none()
            && error_of(row).contains("load.sh: exit status: 3")
    })?;
    says("echo 10")?;
    becomes("a load again", &|row| row["up"] == true && load_of(row).is_some())
}
