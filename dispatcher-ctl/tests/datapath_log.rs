//! The datapath's log messages about real packets, in the daemon's log: `--features datapath-log`. Needs root; without
//! it the test is skipped with a message, unless `DISPATCHER_REQUIRE_BPF=1`.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use network_lab::Lab;

#[allow(dead_code, reason = "the laboratory is also for the network's tests")]
mod network_lab;

/// The daemon; killed, and its datapath removed, however the test ends.
struct Daemon {
    child: Child,
    detach: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let words: Vec<_> = self.detach.split(' ').collect();
        let _ = Command::new(words[0]).args(&words[1..]).status();
    }
}

/// Starts the daemon in the laboratory, with its log in a file.
fn start(lab: &Lab, directory: &Path, log: &Path) -> Daemon {
    let pins = format!("/sys/fs/bpf/{}", lab.ns("log"));
    let config = directory.join("dispatcher.toml");
    let text = format!(
        "interfaces = [\"eth0\"]\nxdp_mode = \"generic\"\nmetrics_listen = \"127.0.0.1:9464\"\n\
         api_socket = {:?}\npin_dir = {pins:?}\n\n[connections]\ncapacity = 1000\n\n\
         [[service]]\nname = \"dns\"\nvip = \"10.7.0.80\"\nport = 53\nprotocol = \"udp\"\n\n\
         [[service.backend]]\nname = \"b\"\naddress = \"10.7.0.11\"\nmac = \"02:00:00:00:00:77\"\nweight = 1\n",
        directory.join("api.sock")
    );
    fs::write(&config, text).unwrap();
    let enter = format!("--net=/run/netns/{}", lab.ns("lb"));
    let dispatcher = env!("CARGO_BIN_EXE_dispatcher");
    let child = Command::new("nsenter")
        .args([&enter, dispatcher, "run", "--log-level", "info,datapath=debug", "-c"])
        .arg(&config)
        .stderr(fs::File::create(log).unwrap())
        .spawn()
        .unwrap();
    Daemon { child, detach: format!("nsenter {enter} {dispatcher} detach --all --pin-dir {pins}") }
}

/// Waits until the log contains this, and returns the line.
fn line(log: &Path, wanted: &str) -> String {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap();
        if let Some(line) = text.lines().find(|line| line.contains(wanted)) {
            return line.to_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no {wanted:?} in\n{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn new_connections_and_early_exits_are_in_the_daemons_log() {
    let Some(lab) = Lab::possible() else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let _daemon = start(&lab, directory.path(), &log);
    line(&log, "eth0: attached");
    // The only other host acts as the client. The backend has another MAC: otherwise its own packets would have come
    // back.
    let send = |port: u16| {
        let b = lab.ns("b");
        let script = format!("for i in 1 2 3; do echo $i >&3; done 3<>/dev/udp/10.7.0.80/{port}");
        let enter = format!("--net=/run/netns/{b}");
        let status = Command::new("nsenter").args([&enter, "bash", "-c", &script]).status();
        assert!(status.unwrap().success());
    };
    line(&log, "ready");
    send(53);
    let new = line(&log, "eth0: new: service 0, slot 1, client ::ffff:10.7.0.11 port ");
    assert!(new.contains("DEBUG"), "{new}");
    send(54);
    line(&log, "eth0: left: 30 bytes, drop no_service");
    let text = fs::read_to_string(&log).unwrap();
    let new = text.matches("eth0: new: ").count();
    assert_eq!(new, 1, "the second packet of a connection says nothing:\n{text}");
    assert!(!text.contains("not_ours"), "what is not ours is said at level trace only:\n{text}");
}
