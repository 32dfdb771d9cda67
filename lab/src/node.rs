//! A host of the laboratory: a network namespace, and operations inside it.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// A host.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    namespace: String,
    directory: PathBuf,
    net: u8,
    host: u8,
}

impl Node {
    pub(super) fn new(
        prefix: &str,
        directory: &Path,
        name: &str,
        net: u8,
        host: u8,
    ) -> Result<Self> {
        let namespace = format!("{prefix}-{name}");
        super::run(&format!("ip netns add {namespace}"))?;
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let node = Self { name: name.to_owned(), namespace, directory, net, host };
        for (key, value) in [
            // Neighbour solicitations come from the link-local address, so it must not be tentative at first.
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ] {
            node.sysctl(key, value)?;
        }
        node.ip("link set lo up")?;
        Ok(node)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace's name, for `ip netns`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A directory of its own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) const fn net(&self) -> u8 {
        self.net
    }

    pub(super) const fn host(&self) -> u8 {
        self.host
    }

    /// Its IPv4 address.
    #[must_use]
    pub const fn v4(&self) -> Ipv4Addr {
        super::v4(self.net, self.host)
    }

    /// Its IPv6 address.
    #[must_use]
    pub const fn v6(&self) -> Ipv6Addr {
        super::v6(self.net, self.host)
    }

    /// The MAC of its first NIC.
    #[must_use]
    pub fn mac(&self) -> String {
        super::mac(self.net, self.host)
    }

    /// A command that runs inside the namespace. It ignores no signal, as when a service manager starts it, whatever signals
    /// this process inherited as ignored (a shell's `&` does that). The process is the program itself: killing it leaves
    /// nothing.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        command.args(["env", "--default-signal"]).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command line inside, with words separated by spaces, and returns its output.
    ///
    /// # Errors
    /// When it cannot be run or fails; the message contains its error output.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = self.output(line)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{}: {line}: {}: {}",
            self.name,
            output.status,
            error.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command line inside, and returns its exit status and output.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn output(&self, line: &str) -> Result<Output> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (program, arguments) = words.split_first().context("empty command")?;
        let mut command = self.command(program);
        command.args(arguments).output().with_context(|| format!("{}: run {line}", self.name))
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn ip(&self, arguments: &str) -> Result<String> {
        super::run(&format!("ip -n {} {arguments}", self.namespace))
    }

    /// Starts a command line in the background; its output goes to `LOG.log` in the node's directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, log: &str, line: &str) -> Result<Process> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (program, arguments) = words.split_first().context("empty command")?;
        let mut command = self.command(program);
        command.args(arguments);
        self.spawn_command(log, command)
    }

    /// Starts a command in the background, as [`Node::spawn`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_command(&self, log: &str, mut command: Command) -> Result<Process> {
        let log = self.directory.join(format!("{log}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{}: start {command:?}", self.name))?;
        Ok(Process { child, log })
    }

    /// Runs the work on a thread in this network namespace: sockets that it opens belong to the node.
    ///
    /// # Errors
    /// When the namespace cannot be entered; and the work's own errors.
    ///
    /// # Panics
    /// When the work panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.namespace);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("enter {path}"))?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a kernel parameter of the namespace, by its name with dots.
    ///
    /// # Errors
    /// When there is no such parameter.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.enter(|| std::fs::write(&path, value).with_context(|| format!("write {path}")))
    }

    /// Makes one CPU handle all packets of a flow on this NIC, as the queues of a real NIC do (RPS). Otherwise two CPUs may
    /// handle a handshake's last packet and the request after it at the same time. Then the kernel answers one of them with an
    /// RST, about once in millions of connections.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn steer(&self, nic: &str) -> Result<()> {
        let cpus = std::thread::available_parallelism()?.get().min(32);
        let script = format!(
            "for queue in /sys/class/net/{nic}/queues/rx-*; do echo {:x} > $queue/rps_cpus; done",
            u32::MAX >> (32 - cpus)
        );
        // Needs its own mount of /sys, which shows the NICs of the namespace that mounted it.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "sh", "-ec", &script]);
        let output = command.output().with_context(|| format!("run {command:?}"))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: steer {nic}: {}", self.name, error.trim());
        Ok(())
    }

    /// Puts a VIP on the loopback without answering for it on the network, as a backend needs it for direct routing.
    ///
    /// # Errors
    /// When a command fails.
    pub fn hold_vip(&self, vip: IpAddr) -> Result<()> {
        for nic in ["all", "default"] {
            self.sysctl(&format!("net.ipv4.conf.{nic}.arp_ignore"), "1")?;
            self.sysctl(&format!("net.ipv4.conf.{nic}.arp_announce"), "2")?;
        }
        match vip {
            IpAddr::V4(vip) => self.ip(&format!("addr add {vip}/32 dev lo"))?,
            IpAddr::V6(vip) => self.ip(&format!("addr add {vip}/128 dev lo nodad"))?,
        };
        Ok(())
    }

    /// The kernel's index of a NIC.
    ///
    /// # Errors
    /// When there is no such NIC.
    pub fn ifindex(&self, nic: &str) -> Result<u32> {
        let line = self.ip(&format!("-o link show {nic}"))?;
        let number = line.split(':').next().unwrap_or_default().trim();
        number.parse().with_context(|| format!("ifindex in {line:?}"))
    }
}

/// A process in the background; dropping it kills it and everything that it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal to this process only.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, signal).with_context(|| format!("{signal} to {pid}"))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When this cannot be found out.
    pub fn runs(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end, at most this long, and returns its exit status; `None` if a signal ended it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, at_most: Duration) -> Result<Option<i32>> {
        let child = &mut self.child;
        let log = self.log.display();
        super::until(at_most, &format!("process to end (see {log})"), || {
            Ok(child.try_wait()?.map(|status| status.code()))
        })
    }

    /// Kills it and everything that it started.
    pub fn kill(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            // It is the leader of its own process group. An error means that it has just ended.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Leaves it running when this value is dropped.
    pub fn release(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
