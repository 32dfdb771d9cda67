//! Network namespaces for tests of the network: a dispatcher and a backend on one bridge.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use dispatcher_ctl::network::{Network, NetworkEvent, Resolution};
use tokio::sync::mpsc::UnboundedReceiver;

/// Runs a command to its end and returns its output.
pub(crate) fn run(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    text
}

/// Three namespaces: `lb` (10.7.0.1, fd07::1) and `b` (10.7.0.11, fd07::11) on a bridge in `sw`. Their NICs are called
/// `eth0`.
pub(crate) struct Lab {
    prefix: String,
}

impl Lab {
    /// Creates the laboratory; `None` with a message if the test cannot run. Panics instead with
    /// `DISPATCHER_REQUIRE_BPF=1`.
    pub(crate) fn possible() -> Option<Self> {
        if nix::unistd::geteuid().is_root() {
            return Some(Self::new());
        }
        assert!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "root is required");
        eprintln!("skipped: network namespaces need root");
        None
    }

    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lab = Self { prefix: format!("dt-net-{}-{number}", std::process::id()) };
        for role in ["sw", "lb", "b"] {
            run(&format!("ip netns add {}", lab.ns(role)));
            lab.ip(role, "link set lo up");
            // Neighbour solicitations come from the link-local address, so it must not be tentative.
            for key in ["all", "default"] {
                let setting = format!("net.ipv6.conf.{key}.accept_dad=0");
                run(&format!("ip netns exec {} sysctl -qw {setting}", lab.ns(role)));
            }
        }
        lab.ip("sw", "link add br0 type bridge");
        lab.ip("sw", "link set br0 up");
        lab.plug("lb", 1);
        lab.plug("b", 11);
        lab
    }

    /// The namespace's name.
    pub(crate) fn ns(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix)
    }

    /// Runs `ip` in a namespace.
    pub(crate) fn ip(&self, role: &str, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.ns(role)))
    }

    /// Connects a namespace to the bridge with a new NIC.
    pub(crate) fn plug(&self, role: &str, host: u8) {
        let sw = self.ns("sw");
        self.ip(role, &format!("link add eth0 type veth peer name port-{role} netns {sw}"));
        self.ip("sw", &format!("link set port-{role} master br0 up"));
        self.ip(role, &format!("link set eth0 address 02:00:00:00:00:{host:02x}"));
        self.ip(role, &format!("addr add 10.7.0.{host}/24 dev eth0"));
        self.ip(role, &format!("addr add fd07::{host}/64 dev eth0 nodad"));
        self.ip(role, "link set eth0 up");
    }

    /// The kernel's index of `lb`'s NIC.
    pub(crate) fn ifindex(&self) -> u32 {
        let line = self.ip("lb", "-o link show eth0");
        line.split(':').next().unwrap().trim().parse().unwrap()
    }

    /// Runs a future in `lb`'s network namespace, on a thread of its own.
    pub(crate) fn run<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F + Send) {
        let path = format!("/run/netns/{}", self.ns("lb"));
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = std::fs::File::open(path).unwrap();
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work());
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for role in ["lb", "b", "sw"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(role)]).status();
        }
    }
}

/// The MAC of a resolution, or `None`.
pub(crate) fn mac(resolution: &Resolution) -> Option<String> {
    match resolution {
        Resolution::Resolved { mac, .. } => Some(mac.to_string()),
        Resolution::Unresolved(_) => None,
    }
}

/// Waits until an address resolves to a MAC (or to none) and returns how long that took.
pub(crate) async fn becomes(
    network: &Network,
    address: &str,
    want: Option<&str>,
    within: u64,
) -> Duration {
    let start = Instant::now();
    loop {
        let now = network.resolution(address.parse().unwrap());
        if mac(&now).as_deref() == want {
            return start.elapsed();
        }
        assert!(start.elapsed().as_secs() < within, "{address}: {now:?}, wanted {want:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for an event.
pub(crate) async fn event(
    events: &mut UnboundedReceiver<NetworkEvent>,
    wanted: impl Fn(&NetworkEvent) -> bool,
) -> NetworkEvent {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.expect("no such event within 5 s")
}
