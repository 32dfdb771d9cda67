//! User exits: commands that run when backends change state, and that can delay nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, eventually, undisturbed};
use serde_json::Value;

use crate::common::{all_up, lab, web_services};

/// A script in the laboratory's directory.
fn script(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.directory().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A script that records its environment and standard input, and anything that it inherited from the daemon.
fn note(lab: &Lab) -> Result<(PathBuf, PathBuf)> {
    let notes = lab.directory().join("notes");
    let text = format!(
        "{{ echo \"args $*\"; ls /proc/self/fd | tr '\\n' ' '; echo; grep -E '^Sig(Blk|Ign)' /proc/self/status\n\
         env | grep ^DISPATCHER_ | sort; cat; echo END; }} > {0}.part && cat {0}.part >> {0}",
        notes.display()
    );
    Ok((script(lab, "note", &text)?, notes))
}

/// A daemon with these exits and two services of two backends.
fn start(lab: &Lab, exits: &str) -> Result<Daemon> {
    let services = format!("[exits]\n{exits}\n{}", web_services(lab, &[1, 1]));
    let mut daemon = lab.daemon(&services)?;
    daemon.start()?;
    all_up(&daemon)?;
    Ok(daemon)
}

fn exits(daemon: &Daemon, event: &str, result: &str) -> f64 {
    let labels = [format!("event=\"{event}\""), format!("result=\"{result}\"")];
    daemon.metric("dispatcher_exits_total", &[&labels[0], &labels[1]]).unwrap_or(-1.0)
}

/// The records of all commands, once there are this many.
fn noted(notes: &PathBuf, number: usize) -> Result<Vec<String>> {
    let read = || fs::read_to_string(notes).unwrap_or_default();
    eventually(Duration::from_secs(10), &format!("{number} commands"), || {
        Ok(read().matches("END\n").count() >= number)
    })
    .with_context(read)?;
    Ok(read().split_terminator("END\n").map(str::to_owned).collect())
}

#[test]
fn commands_learn_what_happened() -> Result<()> {
    let Some(lab) = lab(&Plan::new("exits").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let (note, notes) = note(&lab)?;
    let note = note.display();
    let daemon = start(
        &lab,
        &format!(
            "server_down = [\"{note}\", \"with arguments\"]\nserver_up = [\"{note}\"]\n\
             manager_alert = [\"{note}\"]\nmanager_clear = [\"{note}\"]"
        ),
    )?;
    ensure!(!notes.exists(), "something was run at the start: {}", fs::read_to_string(&notes)?);
    let address = lab.backends[0].v4().to_string();
    daemon.ok("down web4 web-1")?;
    daemon.ok("down web4 web-2")?;
    daemon.ok("up web4 web-1")?;
    let noted = noted(&notes, 5)?;
    for (text, event) in noted.iter().zip([
        "server_down",
        "server_down",
        "manager_alert",
        "server_up",
        "manager_clear",
    ]) {
        ensure!(text.contains(&format!("DISPATCHER_EVENT={event}\n")), "{event}: {text}");
        ensure!(text.contains("DISPATCHER_SERVICE=web4\n"), "{text}");
    }
    let first = &noted[0];
    for line in [
        "args with arguments".to_owned(),
        "DISPATCHER_BACKEND=web-1".to_owned(),
        format!("DISPATCHER_ADDRESS={address}"),
        "DISPATCHER_REASON=down by hand".to_owned(),
    ] {
        ensure!(first.lines().any(|l| l == line), "no {line} in {first}");
    }
    let json = first.lines().find(|l| l.starts_with('{')).context("no json")?;
    let json: Value = serde_json::from_str(json)?;
    ensure!(json["event"] == "server_down" && json["address"] == address.as_str(), "{json}");
    ensure!(json["time"].as_f64().is_some_and(|t| t > 1.6e9) && json["id"].is_u64(), "{json}");
    // Nothing is inherited from the daemon: neither files nor signals. (3 belongs to the listing itself.)
    ensure!(first.contains("\n0 1 2 3 \n"), "{first}");
    ensure!(first.contains("SigBlk:\t0000000000000000"), "{first}");
    // The C library keeps 32 and 33 for itself.
    let ignored = first.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).context("SigIgn")?;
    ensure!(u64::from_str_radix(ignored, 16)? & !(3 << 31) == 0, "{first}");
    eventually(Duration::from_secs(5), "counts", || {
        Ok(exits(&daemon, "server_down", "success") == 2.0
            && exits(&daemon, "manager_clear", "success") == 1.0)
    })?;
    Ok(())
}

#[test]
fn a_command_that_hangs_delays_nothing_but_the_next() -> Result<()> {
    undisturbed(Duration::from_millis(200), || {
        let Some(lab) = lab(&Plan::new("exithang").backends(2))? else { return Ok(()) };
        let _servers = lab.serve_web()?;
        let (note, notes) = note(&lab)?;
        let hang = script(&lab, "hang", "sleep 300 & echo $! > \"$1\"; wait")?;
        let child = lab.directory().join("child");
        let exits_text = format!(
            "server_down = [\"{}\", \"{}\"]\nserver_up = [\"{}\"]\ntimeout = \"2s\"\nqueue = 2",
            hang.display(),
            child.display(),
            note.display()
        );
        let mut daemon = start(&lab, &exits_text)?;
        daemon.ok("down web4 web-1")?;
        eventually(Duration::from_secs(5), "hanging command", || Ok(child.exists()))?;
        // Meanwhile everything continues; what does not fit into the queue is dropped, the oldest first.
        for weight in 1..=5 {
            let said = daemon.cli(["weight", "web4", "web-2", &weight.to_string()])?;
            ensure!(said.status == 0 && said.took < Duration::from_millis(700), "{said:?}");
        }
        for service in ["web4", "web6", "web6"] {
            daemon.ok(&format!("down {service} web-2"))?;
            daemon.ok(&format!("up {service} web-2"))?;
        }
        let noted = noted(&notes, 1)?;
        ensure!(noted[0].contains("DISPATCHER_SERVICE=web6"), "{noted:?}");
        eventually(Duration::from_secs(10), "ends", || {
            Ok(exits(&daemon, "server_down", "timeout") == 2.0)
        })?;
        let dropped =
            exits(&daemon, "server_down", "dropped") + exits(&daemon, "server_up", "dropped");
        assert_eq!(dropped, 4.0);
        let log = daemon.log();
        ensure!(
            log.contains("the queue is full, dropped: backend web4/web-2: down by hand"),
            "{log}"
        );
        ensure!(log.contains("killed, not done after 2 s"), "{log}");
        let pid = fs::read_to_string(&child)?.trim().to_owned();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "the child lives on: {stat}");

        // A reload takes effect at once, and a failure says why.
        let fail = script(&lab, "fail", "echo no mail today >&2; exit 7")?;
        daemon.edit(&hang.display().to_string(), &fail.display().to_string())?;
        let plan = daemon.ok("reload")?;
        ensure!(plan.contains("exits") && plan.contains("fail"), "{plan}");
        daemon.ok("down web6 web-1")?;
        eventually(Duration::from_secs(5), "failure", || {
            Ok(daemon.log().contains("fail: exit status: 7: no mail today"))
        })?;
        assert_eq!(exits(&daemon, "server_down", "failure"), 1.0);
        // A hanging command does not keep the daemon from ending.
        daemon.edit(&fail.display().to_string(), &hang.display().to_string())?;
        daemon.ok("reload")?;
        fs::remove_file(&child)?;
        daemon.ok("down web6 web-2")?;
        eventually(Duration::from_secs(5), "hanging command", || Ok(child.exists()))?;
        let stopping = std::time::Instant::now();
        assert_eq!(daemon.stop()?, Some(0));
        ensure!(stopping.elapsed() < Duration::from_millis(1900), "{:?}", stopping.elapsed());
        Ok(())
    })
}
