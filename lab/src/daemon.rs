//! The dispatcher under test: `dispatcher run` in the laboratory, and its command line.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Node, Process, eventually};

/// The binary: `DISPATCHER_BIN`, or the newer one of `target/release/dispatcher` and `target/debug/dispatcher`.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DISPATCHER_BIN") {
        return Ok(path.into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    ["release", "debug"]
        .into_iter()
        .map(|profile| target.join(profile).join("dispatcher"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .context("no dispatcher binary (hint: cargo xtask build, or set DISPATCHER_BIN)")
}

/// The result of a `dispatcher` command.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

/// A daemon in the laboratory: configuration, socket, and the process while it runs.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    node: Node,
    config: PathBuf,
    socket: PathBuf,
    process: Option<Process>,
}

/// The strace command that injects this. (Its option `--seccomp-bpf` would be quicker, but miscounts `when=`.)
fn strace(inject: &str) -> Vec<String> {
    let calls = inject.split(':').next().unwrap_or_default();
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e"];
    let mut words: Vec<_> = words.map(str::to_owned).into();
    words.extend([format!("trace={calls}"), "-e".to_owned(), format!("inject={inject}")]);
    words
}

impl Lab {
    /// Prepares a daemon on the dispatcher's host with this configuration. `services` follows the general part, which names
    /// the NIC, sockets and pins of this laboratory. The daemon does not run yet: see [`Daemon::start`].
    ///
    /// # Errors
    /// When there is no binary, or the file cannot be written.
    pub fn daemon(&self, services: &str) -> Result<Daemon> {
        self.daemon_of(binary()?, services)
    }

    /// As [`Lab::daemon`], with this binary.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn daemon_of(&self, binary: PathBuf, services: &str) -> Result<Daemon> {
        let daemon = Daemon {
            binary,
            node: self.lb.clone(),
            config: self.directory().join("dispatcher.toml"),
            socket: self.directory().join("api.sock"),
            process: None,
        };
        daemon.write(&(self.general(&["eth0"]) + services))?;
        Ok(daemon)
    }

    /// Prepares a second daemon on another node, with that node's `eth0`; `general` is the start of its general part.
    ///
    /// # Errors
    /// As [`Lab::daemon`].
    pub fn daemon_on(&self, node: &Node, general: &str, services: &str) -> Result<Daemon> {
        let daemon = Daemon {
            binary: binary()?,
            node: node.clone(),
            config: node.directory().join("dispatcher.toml"),
            socket: node.directory().join("api.sock"),
            process: None,
        };
        // One pin directory can hold the pins of several network namespaces.
        let own = self.general(&["eth0"]).replace(
            &format!("{:?}", self.directory().join("api.sock")),
            &format!("{:?}", daemon.socket),
        );
        daemon.write(&format!("{general}{own}{services}"))?;
        Ok(daemon)
    }

    /// The general part of a configuration, for these NICs.
    #[must_use]
    pub fn general(&self, nics: &[&str]) -> String {
        format!(
            "interfaces = {nics:?}\napi_socket = {:?}\npin_dir = {:?}\n\n[connections]\ncapacity = 65536\n\n",
            self.directory().join("api.sock"),
            self.pin_dir()
        )
    }
}

impl Daemon {
    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Replaces the configuration file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, text: &str) -> Result<()> {
        fs::write(&self.config, text).with_context(|| format!("write {}", self.config.display()))
    }

    /// Changes the configuration file's text.
    ///
    /// # Errors
    /// When it cannot be read or written, or the old text is not in it.
    pub fn edit(&self, old: &str, new: &str) -> Result<()> {
        let text = fs::read_to_string(&self.config)?;
        ensure!(text.contains(old), "{old:?} is not in the configuration");
        self.write(&text.replace(old, new))
    }

    /// Starts it and waits until it answers `status`.
    ///
    /// # Errors
    /// When it ends, or does not answer within 15 s; the message contains its log.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_with(&[])
    }

    /// Starts it with further options, without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_with(&mut self, options: &[&str]) -> Result<()> {
        self.launch_in(&[], options)
    }

    /// Starts it under strace, which injects what `inject` says (`bpf:signal=SIGKILL:when=7`), without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_traced(&mut self, inject: &str) -> Result<()> {
        let strace = strace(inject);
        self.launch_in(&strace.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    }

    /// Starts it with only these capabilities (`CAP_BPF`, …) and no way to get more, without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_confined(&mut self, capabilities: &[&str], options: &[&str]) -> Result<()> {
        let mut set = "-all".to_owned();
        for name in capabilities {
            set += &format!(",+{}", name.trim_start_matches("CAP_").to_lowercase());
        }
        let wrapper = ["setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", &set];
        self.launch_in(&wrapper, options)
    }

    /// Puts a running daemon under strace, which injects what `inject` says. Keep the returned process: dropping it ends the
    /// trace.
    ///
    /// # Errors
    /// When strace does not start.
    pub fn trace(&mut self, inject: &str) -> Result<Process> {
        let pid = self.process()?.pid().to_string();
        let words = strace(inject);
        let mut command = self.node.command(&words[0]);
        command.args(words[1..].iter().filter(|word| *word != "-qq")).args(["-p", &pid]);
        // Output of an earlier strace would be mistaken for this one's.
        let _ = fs::remove_file(self.node.directory().join("strace.log"));
        let strace = self.node.spawn_command("strace", command)?;
        eventually(Duration::from_secs(5), "strace to attach", || {
            Ok(strace.log().contains(&format!("Process {pid} attached")))
        })
        .with_context(|| strace.log())?;
        Ok(strace)
    }

    fn launch_in(&mut self, wrapper: &[&str], options: &[&str]) -> Result<()> {
        let mut words = wrapper.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = self.node.command(words.next().unwrap_or_default());
        command.args(words).arg("run").arg("-c").arg(&self.config).args(options);
        self.process = Some(self.node.spawn_command("dispatcher", command)?);
        Ok(())
    }

    /// Waits until it has ended (`true`) or answers `status`.
    ///
    /// # Errors
    /// When neither happens within 15 s.
    pub fn wait_ended_or_ready(&mut self) -> Result<bool> {
        super::until(Duration::from_secs(15), "end or answer of the daemon", || {
            if !self.process()?.runs()? {
                return Ok(Some(true));
            }
            Ok((self.cli(["status"])?.status == 0).then_some(false))
        })
    }

    /// Waits until it answers `status`.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon was not started")?;
        let ready = eventually(Duration::from_secs(15), "answer of the daemon", || {
            if !process.runs()? {
                return Ok(true);
            }
            Ok(self.cli(["status"])?.status == 0)
        });
        let alive = process.runs()?;
        let log = process.log();
        self.process = Some(process);
        ready.with_context(|| format!("log:\n{log}"))?;
        ensure!(alive, "the daemon ended; log:\n{log}");
        Ok(())
    }

    /// The process.
    ///
    /// # Errors
    /// When it was not started.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the daemon was not started")
    }

    /// Leaves the daemon running when this value is dropped.
    pub fn release(mut self) {
        if let Some(process) = self.process.take() {
            process.release();
        }
    }

    /// Its log since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.node.directory().join("dispatcher.log")).unwrap_or_default()
    }

    /// Kills it with SIGKILL: the controller dies, the datapath stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it with SIGTERM and returns its exit status.
    ///
    /// # Errors
    /// When it does not end within 10 s.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let mut process = self.process.take().context("the daemon was not started")?;
        process.signal(nix::sys::signal::Signal::SIGTERM)?;
        process.wait(Duration::from_secs(10))
    }

    /// The command that runs a `dispatcher` verb against this daemon.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.node.command(&self.binary);
        command.args(arguments).env("DISPATCHER_API_SOCKET", &self.socket);
        command
    }

    /// Runs a `dispatcher` verb against this daemon.
    ///
    /// # Errors
    /// When the binary cannot be run. A verb that fails is no error: see [`Said::status`].
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Said> {
        let mut command = self.command(arguments);
        let start = Instant::now();
        let output = command.output().with_context(|| format!("run {}", self.binary.display()))?;
        Ok(Said {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: start.elapsed(),
        })
    }

    /// Runs a verb, words separated by spaces, that must succeed, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message contains its error output.
    pub fn ok(&self, line: &str) -> Result<String> {
        let said = self.cli(line.split_whitespace())?;
        ensure!(said.status == 0, "dispatcher {line}: exit {}: {}", said.status, said.err.trim());
        Ok(said.out)
    }

    /// As [`Daemon::ok`], with `-o json`.
    ///
    /// # Errors
    /// When it fails, or prints no JSON.
    pub fn json(&self, line: &str) -> Result<serde_json::Value> {
        let out = self.ok(&format!("{line} -o json"))?;
        serde_json::from_str(&out).with_context(|| format!("dispatcher {line} -o json: {out}"))
    }

    /// The metrics page.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub fn metrics(&self) -> Result<String> {
        self.node.run("curl -s --fail --max-time 5 http://127.0.0.1:9464/metrics")
    }

    /// The sum of a metric's samples whose labels contain all of these (`backend="web-1"`).
    ///
    /// # Errors
    /// When the page cannot be read, or has no such sample.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        sample(&self.metrics()?, name, labels)?
            .with_context(|| format!("no sample {name}{{{}}} in metrics", labels.join(",")))
    }
}

/// The sum of a metric's samples on a page whose labels contain all of these; `None` if there is no such sample.
///
/// # Errors
/// When a value is no number.
pub fn sample(page: &str, name: &str, labels: &[&str]) -> Result<Option<f64>> {
    let mut sum = None;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        if !rest.starts_with(['{', ' ']) || !labels.iter().all(|label| rest.contains(label)) {
            continue;
        }
        let value: f64 = rest.rsplit(' ').next().unwrap_or_default().parse()?;
        sum = Some(sum.unwrap_or(0.0) + value);
    }
    Ok(sum)
}
