//! FTP through the VIP, with real servers and clients: passive (the client opens the data connection to a port that its
//! server named) and active (the server opens it from VIP:20).

use std::{fs, net::IpAddr, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_lab::{Daemon, Lab, Node, Plan};

use crate::common::{VIPS, address_of, all_up, backend, lab, noise, reason, service, service_of};

/// How a client transfers a file.
#[derive(Clone, Copy, Debug)]
enum Client {
    Curl,
    Lftp,
}

/// Who opens the data connection.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Passive,
    Active,
}

/// Control on port 21, active data from port 20, passive data on any port: one group, so that a client has the same
/// server for all.
fn services(lab: &Lab) -> String {
    let mut text = String::new();
    for vip in VIPS {
        let family = if vip.is_ipv4() { 4 } else { 6 };
        for (name, port, linked) in
            [("ftp", 21, "[20, 0]"), ("ftp-active", 20, "[]"), ("ftp-passive", 0, "[]")]
        {
            text += &service(&format!("{name}{family}"), vip, port, "tcp");
            text += &format!("affinity = {{ timeout = \"60s\", cross_port = {linked} }}\n\n");
            for node in &lab.backends {
                text += &backend(node.name(), address_of(node, vip), 1);
            }
        }
    }
    text
}

fn url(vip: IpAddr, file: &str) -> String {
    match vip {
        IpAddr::V4(v4) => format!("ftp://{v4}/pub/{file}"),
        IpAddr::V6(v6) => format!("ftp://[{v6}]/pub/{file}"),
    }
}

/// Downloads `down` as `got` and uploads `up` as `name`, files in the client's directory, on one control connection or
/// two.
fn transfer(node: &Node, vip: IpAddr, (client, mode): (Client, Mode), name: &str) -> Result<()> {
    let here = |file: &str| node.directory().join(file);
    match client {
        Client::Curl => {
            for arguments in [
                ["-o", &here("got").display().to_string(), &url(vip, "down")],
                ["-T", &here("up").display().to_string(), &url(vip, name)],
            ] {
                let mut curl = node.command("curl");
                curl.args(["-sS", "--globoff", "--max-time", "20"]);
                if matches!(mode, Mode::Active) {
                    curl.args(["--ftp-port", "-"]);
                }
                succeed(curl.args(arguments))?;
            }
            Ok(())
        }
        Client::Lftp => {
            let passive = if matches!(mode, Mode::Passive) { "on" } else { "off" };
            let script = format!(
                "set net:timeout 10; set net:max-retries 1; set ftp:passive-mode {passive}; \
                 set xfer:clobber on; set cmd:fail-exit on; open {}; get down -o {}; put {} -o {name}; bye",
                url(vip, ""),
                here("got").display(),
                here("up").display(),
            );
            succeed(node.command("lftp").args(["--norc", "-c", &script]))
        }
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, error.trim());
    Ok(())
}

/// The only backend that has a file with these contents.
fn holder<'a>(lab: &'a Lab, name: &str, bytes: &[u8]) -> Result<&'a str> {
    let file = |node: &Node| fs::read(node.ftp_directory().join(name)).ok();
    let holders: Vec<_> =
        lab.backends.iter().filter_map(|node| Some((node.name(), file(node)?))).collect();
    match &holders[..] {
        [(name, found)] if found == bytes => Ok(name),
        [(name, found)] => bail!("{name} has {} bytes of {}", found.len(), bytes.len()),
        others => bail!("{} servers have {name}", others.len()),
    }
}

#[test]
fn files_come_and_go_active_and_passive() -> Result<()> {
    let Some(lab) = lab(&Plan::new("ftp").clients(3))? else { return Ok(()) };
    let _servers = lab.backends.iter().map(Node::serve_ftp).collect::<Result<Vec<_>>>()?;
    let mut daemon = lab.daemon(&services(&lab))?;
    daemon.start()?;
    all_up(&daemon)?;
    let (down, up) = (noise(3_000_000), noise(2_000_003));
    for backend in &lab.backends {
        fs::write(backend.ftp_directory().join("down"), &down)?;
    }
    for vip in VIPS {
        let mut servers = Vec::new();
        for node in &lab.clients {
            fs::write(node.directory().join("up"), &up)?;
            let mut of_client = Vec::new();
            for how in [
                (Client::Curl, Mode::Passive),
                (Client::Curl, Mode::Active),
                (Client::Lftp, Mode::Passive),
                (Client::Lftp, Mode::Active),
            ] {
                let family = if vip.is_ipv4() { 4 } else { 6 };
                let name = format!("{}-{family}-{:?}-{:?}", node.name(), how.0, how.1);
                let context = || format!("{vip}, {}, {how:?}", node.name());
                transfer(node, vip, how, &name).with_context(context)?;
                ensure!(fs::read(node.directory().join("got"))? == down, "{}: differs", context());
                of_client.push(holder(&lab, &name, &up).with_context(context)?);
            }
            let first = of_client[0];
            ensure!(of_client.iter().all(|s| *s == first), "{vip}: {of_client:?}");
            servers.push(first);
        }
        servers.sort_unstable();
        assert_eq!(servers, ["web-1", "web-2", "web-3"], "{vip}: clients are spread");
    }
    nothing_was_dropped(&daemon);
    // The control connection idles while data flows.
    assert_eq!(service_of(&daemon, "ftp4")?["stale_timeout"], 900);
    Ok(())
}

fn nothing_was_dropped(daemon: &Daemon) {
    for kind in ["no_service", "no_backend", "orphan_ack", "orphan_other", "orphan_fin"] {
        assert!(reason(daemon, "drop", kind) < 1.0, "{kind}");
    }
}
