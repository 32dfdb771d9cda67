//! `detach --all` after a controller that died: program, pins, VIPs and socket are removed. Needs root; without it the
//! test is skipped with a message, unless `DISPATCHER_REQUIRE_BPF=1`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use dispatcher_ctl::{
    datapath::{Datapath, Document, remove_all},
    model::{Config, OwnedVip, SavedState, State, XdpMode},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

/// A pin directory that is removed with its contents, however the test ends.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        drop(remove_all(&self.0, |_| {}));
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn nothing_is_left_of_a_dead_controller() {
    if !nix::unistd::geteuid().is_root() {
        let required = std::env::var_os("DISPATCHER_REQUIRE_BPF").is_some_and(|value| value == "1");
        assert!(!required, "needs root");
        eprintln!("skipped: needs root");
        return;
    }
    // The namespace belongs to this thread: the initial namespace is not touched, and the kernel removes it with the
    // thread.
    let test = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let pins = Pins(format!("/sys/fs/bpf/dt-api-{}", std::process::id()).into());
        leftovers_are_removed(&pins.0);
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

fn leftovers_are_removed(pins: &Path) {
    ip("link add dt0 type veth peer name dt1");
    ip("link set dt0 up");
    ip("address add 192.0.2.80/32 dev dt0");
    ip("address add 2001:db8::80/128 dev dt0 nodad");
    ip("address add 10.0.0.1/24 dev dt0");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());

    let (mut datapath, _) = Datapath::open(pins, 1_000).unwrap();
    datapath.attach(0, "dt0", if_nametoindex("dt0").unwrap(), XdpMode::Native).unwrap();
    // As the controller saves it, without services.
    let head = serde_json::json!({ "applied_services": 0, "record": saved(&socket) });
    let head = Document::New(head.to_string().into_bytes());
    datapath.saved_documents().save(&[head]).unwrap();

    // While a controller runs, nothing is touched.
    let (status, _, stderr) = detach_all(pins);
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("another controller"), "{stderr}");
    let kill = format!("hint: kill {}, which stops", std::process::id());
    assert!(stderr.contains(&kill), "{stderr}");
    assert!(addresses().contains("192.0.2.80/32") && links().contains("xdp"));

    drop(datapath);
    assert!(links().contains("xdp"), "the datapath outlives its controller");
    let (status, stdout, stderr) = detach_all(pins);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    for vip in ["192.0.2.80", "2001:db8::80"] {
        assert!(stdout.contains(&format!("interface dt0: vip {vip} removed")), "{stdout}");
        assert!(!addresses().contains(vip), "{}", addresses());
    }
    assert!(addresses().contains("10.0.0.1/24"), "an address of others is gone");
    assert!(!links().contains("xdp"), "{}", links());
    assert!(!socket.exists());
    let pinned = fs::read_dir(pins).map_or(0, |entries| entries.count());
    assert_eq!(pinned, 0, "pins are left");

    // A second run finds nothing to do, which is no failure.
    let (status, stdout, _) = detach_all(pins);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.ends_with(": nothing is left there\n"), "{stdout}");
}

fn saved(socket: &Path) -> SavedState {
    let mut applied = Config::new(vec!["dt0".to_owned()]);
    applied.api_socket = socket.to_owned();
    let vip = |interface: &str, vip: &str| OwnedVip {
        interface: interface.to_owned(),
        vip: vip.parse().unwrap(),
    };
    SavedState {
        applied,
        state: State::default(),
        // One NIC was removed meanwhile.
        vips: vec![
            vip("dt0", "192.0.2.80"),
            vip("gone0", "192.0.2.80"),
            vip("dt0", "2001:db8::80"),
        ],
        retired_slots: Vec::new(),
        interface_names: vec!["dt0".to_owned()],
        nic_names: vec![],
        arp_ignored: vec![],
    }
}

/// Exit status, stdout and stderr.
fn detach_all(pins: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
        .args(["detach", "--all", "--pin-dir"])
        .arg(pins)
        .env_remove("DISPATCHER_API_SOCKET")
        .output()
        .unwrap();
    (output.status.code().unwrap(), text(&output).0, text(&output).1)
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn addresses() -> String {
    text(&Command::new("ip").args(["address", "show"]).output().unwrap()).0
}

fn links() -> String {
    text(&Command::new("ip").args(["link", "show", "dt0"]).output().unwrap()).0
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}
