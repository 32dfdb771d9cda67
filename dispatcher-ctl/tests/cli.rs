//! The binary against a server over a real Unix socket: output, exit statuses, errors.

use std::{
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Daemon, cli};

mod support;

/// Exit status, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn stdout(output: &Output) -> String {
    let (status, stdout, stderr) = said(output);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

#[test]
fn reading_verbs_show_tables_and_json() {
    let daemon = Daemon::start();
    let sample = support::sample();
    for (verb, heading) in [
        ("status", "dispatcher 0.1.0, pid 4242"),
        ("services", "SERVICE  ADDRESS"),
        ("backends", "SERVICE  BACKEND"),
        ("connections", "PROTOCOL  CLIENT"),
    ] {
        let table = stdout(&daemon.cli(verb));
        assert!(table.starts_with(heading), "{verb}: {table}");
        assert!(!table.contains('\u{1b}'), "{verb}: colour without a terminal");
        assert_eq!(table, stdout(&daemon.cli(&format!("{verb} -o table"))));
    }
    let json = |verb: &str| -> Value {
        serde_json::from_str(&stdout(&daemon.cli(&format!("{verb} -o json")))).unwrap()
    };
    assert_eq!(json("status"), serde_json::to_value(&sample).unwrap());
    assert_eq!(json("services"), serde_json::to_value(&sample.services).unwrap());
    let backends = json("backends");
    assert_eq!(backends.as_array().unwrap().len(), 4);
    assert_eq!((&backends[3]["service"], &backends[3]["name"]), (&"dns".into(), &"dns-1".into()));
    assert_eq!(json("backends 2001:db8::53").as_array().unwrap().len(), 1);
    assert_eq!(json("connections web --limit 1")["truncated"], true);
    assert_eq!(json("connections --client 2001:db8::c")["connections"][0]["backend"], "dns-1");
    assert_eq!(json("connections --backend web-2")["connections"][0]["state"], "closing");
    assert_eq!(json("plan"), serde_json::to_value(support::plan()).unwrap());
    assert_eq!(daemon.changes(), [""; 0]);
}

#[test]
fn changing_verbs_say_what_holds_now() {
    let daemon = Daemon::start();
    let patch = |fields: &str| {
        let mut all = vec!["weight", "quiesced", "up", "address", "mac", "local"];
        all.retain(|name| !fields.starts_with(&format!("{name}:")));
        let nothing = |name: &&str| format!("{name}: None");
        let before: Vec<_> = all.iter().map(nothing).collect();
        (before, fields.to_owned())
    };
    for (verb, want, (unset, set)) in [
        (
            "weight web web-1 4",
            "backend web/web-1: up, weight 4, 6 active\n",
            patch("weight: Some(4)"),
        ),
        (
            "quiesce web web-1",
            "backend web/web-1: up, quiesced, weight 4, 6 active\n",
            patch("quiesced: Some(true)"),
        ),
        (
            "unquiesce web web-1",
            "backend web/web-1: up, weight 4, 6 active\n",
            patch("quiesced: Some(false)"),
        ),
        (
            "down web 10.0.0.11",
            "backend web/web-1: down by hand, weight 4, 6 active\n",
            patch("up: Some(false)"),
        ),
        ("up web web-1", "backend web/web-1: up, weight 4, 6 active\n", patch("up: Some(true)")),
    ] {
        assert_eq!(stdout(&daemon.cli(verb)), want, "{verb}");
        let changes = daemon.changes().join("\n");
        assert!(changes.contains(&set), "{verb}: {changes}");
        assert!(unset.iter().all(|field| changes.contains(field)), "{verb}: {changes}");
    }
    for (verb, want, change) in [
        ("weight web web-1 0 --save", "weight 0", "save=true"),
        ("weight web web-1 7 --managed", "weight 7", "fixed_weight: Some(false)"),
        ("manager set smoothing 2.5", "smoothing 2.5", "smoothing: Some(2.5)"),
        ("manager set proportions 40,40,20,0 --save", "advisor 20", "save=true"),
        (
            "manager set report_timeout unlimited",
            "report_timeout unlimited",
            "report_timeout: Some(None)",
        ),
        (
            "service set web --scheduler rr --stale-timeout 5m",
            "scheduler rr, forward mac, stale_timeout 5m, syn_timeout 30s, fin_timeout 1s 500ms, \
             fin_count 4000, on_down keep, measure true, weight_bound 20, proportions the manager's, \
             slow_start 0s, affinity { timeout = ",
            "Some(Rr)",
        ),
        (
            "service set web --affinity-timeout 5m --affinity-mask-v4 24 --cross-port 443,0",
            "affinity { timeout = \"300s\", mask_v4 = 24, mask_v6 = 64, cross_port = [443] }",
            "affinity: Some(PatchAffinity { timeout: Some(Seconds(300s)), mask_v4: Some(24), mask_v6: \
             None, cross_port: Some([443, 0]) })",
        ),
        ("service set web --cross-port none", "service web: ", "cross_port: Some([])"),
        ("backend set web web-1 --sticky false", "backend web/web-1: ", "sticky: Some(false)"),
        (
            "service add tls --vip 192.0.2.81 --port 443 --protocol tcp",
            "service tls: added, 192.0.2.81:443/tcp",
            "replace=false save=false",
        ),
        ("service remove tls --save", "service tls: removed", "delete service tls save=true"),
        (
            "backend add web web-9 --address 10.0.0.19 --weight 7 --mac 02:00:00:00:00:19",
            "backend web/web-9: up, weight 7",
            "mac: Some(Some(02:00:00:00:00:19))",
        ),
        ("backend set web web-9 --mac auto", "backend web/web-9: up", "mac: Some(None)"),
        (
            "backend remove web web-9",
            "backend web/web-9: removed",
            "delete backend web/web-9 save=false",
        ),
        ("attach eth2 --mode generic", "interface eth2: attached, generic", "Some(Generic)"),
        ("detach eth2", "interface eth2: detached", "detach eth2 save=false"),
        ("reload", "~ backend web/web-1  weight 3 -> 4\n", "reload"),
    ] {
        let text = stdout(&daemon.cli(verb));
        assert!(text.contains(want), "{verb}: {text}");
        let changes = daemon.changes().join("\n");
        assert!(changes.contains(change), "{verb}: {changes}");
    }
}

#[test]
fn failures_have_their_exit_status_and_one_line() {
    let daemon = Daemon::start();
    for (verb, status, stderr) in [
        ("weight web web-1 21", 2, "backend web/web-1: weight 21 is above weight_bound 20\n"),
        ("weight web nope 1", 1, "backend web/nope: is not there\n"),
        ("backends nope", 1, "service nope: is not there\nhint: dispatcher services\n"),
        (
            "service add web --vip 192.0.2.9 --port 1 --protocol tcp",
            1,
            "service web: is there already\n",
        ),
        (
            "attach nodriver0",
            1,
            "interface nodriver0: driver dummy has no native xdp\nhint: dispatcher attach nodriver0 --mode generic\n",
        ),
        (
            "service set web",
            2,
            "service web: nothing to set, expected an option such as --scheduler\n",
        ),
        (
            "backend set web web-1",
            2,
            "backend web/web-1: nothing to set, expected an option such as --weight\n",
        ),
    ] {
        assert_eq!(said(&daemon.cli(verb)), (status, String::new(), stderr.to_owned()), "{verb}");
    }
    assert_eq!(daemon.changes(), [""; 0]);
}

#[test]
fn wrong_usage_is_2() {
    let nowhere = Path::new("/nonexistent/api.sock");
    for arguments in [
        "",
        "frobnicate",
        "weight web web-1",
        "weight web web-1 3 --fixed --managed",
        "manager set colour 3",
        "manager set interval 2",
        "manager set proportions 50,50",
        "weight web web-1 -1",
        "weight web web-1 many",
        "status -o xml",
        "detach",
        "detach eth0 --all",
        "detach eth0 --pin-dir /x",
        "detach --all --save",
        "attach eth0 --mode offload",
        "service add x --vip 300.1.1.1 --port 80 --protocol tcp",
        "service add x --vip 192.0.2.1 --port 70000 --protocol tcp",
        "service add x --vip 192.0.2.1 --port 80 --protocol sctp",
        "service set web --stale-timeout soon",
        "service set web --cross-port http",
        "service set web --cross-port 70000",
        "backend set web web-1 --sticky perhaps",
        "backend add web x --address 10.0.0.1 --mac nonsense",
        "connections --client nobody",
        "check",
        "run",
    ] {
        let output = cli(nowhere, &arguments.split_whitespace().collect::<Vec<_>>());
        let (status, stdout, stderr) = said(&output);
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments}");
    }
    assert_eq!(said(&cli(nowhere, &["quiesce", "", "x"])).0, 2);
}

#[test]
fn without_a_daemon_it_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for socket in [Path::new("/nonexistent/api.sock"), &dead] {
        let (status, stdout, stderr) = said(&cli(socket, &["status"]));
        assert_eq!((status, stdout.as_str()), (3, ""));
        let socket = socket.display();
        assert!(
            stderr.starts_with(&format!(
                "api socket {socket}: no daemon listens on it\nhint: dispatcher run -c FILE"
            )),
            "{stderr}"
        );
    }
    // The option overrides the environment.
    let daemon = Daemon::start();
    let option = daemon.socket.to_str().unwrap();
    assert_eq!(said(&cli(&dead, &["--api-socket", option, "status"])).0, 0);
    assert_eq!(said(&cli(&dead, &["status", "--api-socket", option])).0, 0);
}

#[test]
fn plan_and_check_list_every_error() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    let name = file.display();
    fs::write(&file, "bad = 1").unwrap();
    let (status, _, stderr) = said(&daemon.cli(&format!("plan -c {name}")));
    assert_eq!(status, 2);
    assert_eq!(
        stderr,
        format!(
            "{name}:1:1: bad: unknown key\n{name}:2:8: service[0].port: 70000 is no port\n  hint: 0 to 65535\n\
             {name}: 2 errors, nothing was changed\n"
        )
    );
    let (status, _, stderr) = said(&daemon.cli("plan -c /nonexistent.toml"));
    assert_eq!((status, stderr.lines().count()), (2, 1), "{stderr}");

    // `check` needs no daemon.
    let nowhere = Path::new("/nonexistent/api.sock");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        said(&cli(nowhere, &["check", "-c", file.to_str().unwrap()]))
    };
    let service =
        "[[service]]\nname = \"web\"\nvip = \"192.0.2.80\"\nport = 80\nprotocol = \"tcp\"\n";
    let backend = "[[service.backend]]\nname = \"b\"\naddress = \"10.0.0.1\"\n";
    let good = check(&format!("interfaces = [\"eth0\"]\n{service}{backend}"));
    assert_eq!(good, (0, format!("{name}: ok (1 service, 1 backend)\n"), String::new()));
    let (status, stdout, stderr) =
        check(&format!("interfacs = []\nxdp_mode = \"nativ\"\n{service}"));
    assert_eq!((status, stdout.as_str()), (2, ""));
    for place in [format!("{name}:1:1: "), format!("{name}:2:")] {
        assert!(stderr.lines().any(|line| line.starts_with(&place)), "{place}: {stderr}");
    }
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with(&format!("{name}: ")) && last.ends_with(" errors"), "{stderr}");
    assert_eq!(check("interfaces = [").0, 2);
}

#[test]
fn check_and_plan_refuse_what_is_no_text_file() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("latin1"), b"# first\n# Gr\xf6\xdfe\n").unwrap();
    fs::write(path("utf16"), b"\xff\xfea\0=\0").unwrap();
    nix::unistd::mkfifo(&*path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, want) in [
        (
            "latin1",
            "latin1:2:5: byte 0xf6 in line 2 is not UTF-8 text\nhint: save the file as UTF-8\n",
        ),
        (
            "utf16",
            "utf16:1:1: the file is UTF-16 (little endian), expected UTF-8\nhint: save the file as UTF-8\n",
        ),
        ("fifo", "fifo cannot be read: it is a FIFO, expected a regular file\n"),
        (".", "cannot be read: it is a directory, expected a regular file\n"),
    ] {
        for verb in ["check", "plan"] {
            let (status, _, stderr) = said(&daemon.cli(&format!("{verb} -c {}", path(name))));
            assert!(status == 2 && stderr.ends_with(want), "{verb} {name}: {status} {stderr}");
        }
    }
}

#[test]
fn of_many_errors_some_are_listed_in_linear_time() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("many.toml");
    let text: String = (0..32_000).map(|i| format!("k{i}=1\n")).collect();
    fs::write(&file, text).unwrap();
    let begun = Instant::now();
    let (status, _, stderr) = said(&daemon.cli(&format!("check -c {}", file.display())));
    // Quadratic time took minutes with a debug build.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!((status, lines.len()), (2, 102), "{stderr}");
    assert_eq!(lines[100], "and 31901 more");
    assert!(lines[101].ends_with("many.toml: 32001 errors"), "{}", lines[101]);
}

#[test]
fn help_and_completions_are_output() {
    let nowhere = Path::new("/nonexistent/api.sock");
    let help = stdout(&cli(nowhere, &["--help"]));
    for verb in ["run", "check", "plan", "connections", "quiesce", "completions"] {
        assert!(help.contains(&format!("  {verb}")), "{verb}");
    }
    assert!(stdout(&cli(nowhere, &["--version"])).starts_with("dispatcher 0."));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&cli(nowhere, &["completions", shell])).contains("unquiesce"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = Daemon::start();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dispatcher"))
        .args(["status", "-o", "json", "--api-socket"])
        .arg(&daemon.socket)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (status, _, stderr) = said(&child.wait_with_output().unwrap());
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[test]
fn a_weight_is_set_within_50_ms() {
    let daemon = Daemon::start();
    let once = |_| {
        let begin = Instant::now();
        stdout(&daemon.cli("weight web web-1 2"));
        begin.elapsed()
    };
    let fastest = (0..10).map(once).min().unwrap();
    eprintln!("weight: {fastest:?}");
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}
