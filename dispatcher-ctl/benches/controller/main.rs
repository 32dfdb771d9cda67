//! Measures how long changes take, and what a scrape costs, with 1,000 services of 10 backends each.
//!
//! The real daemon runs in a network namespace with a veth pair. Requests go over its socket. Times are from the request to
//! the answer, which the daemon sends when the change is in force. Half of the services have `wrr`, half `maglev`; ten
//! services share a VIP. Needs root. With `--brief` it leaves out the manager, which takes three minutes.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_ctl::{
    api::{client::Client, routes, types::PatchManager},
    metrics,
};

mod swaps;

use swaps::Policies;

const SERVICES: usize = 1000;
const BACKENDS: usize = 10;
/// Measurements for each line of the output.
const ROUNDS: usize = 21;
/// Measurements for the change of a weight.
const CHANGES: usize = 2000;
/// The first backend's weight and machine at the start.
const FIRST: (usize, usize) = (10, 0);

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root, which loads the datapath");
        return Ok(());
    }
    let place = Place::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&place))
}

async fn measure(place: &Place) -> Result<()> {
    place.write(SERVICES, FIRST)?;
    let daemon = place.start().await?;
    let client = &daemon.client;
    println!("{:44} {:>9} {:>9} {:>9}", "milliseconds", "median", "least", "most");

    println!(
        "{:44} {:9.1} MB, {:.1} of them its own",
        "resident",
        daemon.memory("VmRSS:")?,
        daemon.memory("RssAnon:")?
    );
    weights(place)?;

    let (mut changed, mut replaced) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (figures, first, lines) in
            [(&mut changed, (11 + round, round), 1), (&mut replaced, (11 + round, round + 1), 2)]
        {
            place.write(SERVICES, first)?;
            let started = Instant::now();
            let plan = client.read(&routes::RELOAD, []).await?;
            figures.push(started.elapsed());
            ensure!(
                plan.changes.len() == lines,
                "{} changes, expected {lines}",
                plan.changes.len()
            );
        }
    }
    line("a reload, the weight of one backend changed", changed);
    line("a reload, one backend replaced", replaced);

    let (mut less, mut more) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS / 4 {
        for (services, figures) in [(1, &mut less), (SERVICES, &mut more)] {
            place.write(services, (5, 0))?;
            figures.push(reload(client).await?);
        }
    }
    line("a reload, 999 services less", less);
    line("a reload, 999 services more", more);

    let status = client.read(&routes::STATUS, []).await?;
    let times = |work: &dyn Fn() -> usize| -> Vec<Duration> {
        let timed = |_| {
            let started = Instant::now();
            assert!(work() > 1 << 20, "too little for so many backends");
            started.elapsed()
        };
        (0..ROUNDS).map(timed).collect()
    };
    line("metrics as text", times(&|| metrics::render(&status).map_or(0, |text| text.len())));
    line("metrics, scraped", times(&|| place.scrape().unwrap_or_default()));
    println!(
        "{:44} {:9.1} MB, {:.1} of them its own, {:.1} at most",
        "resident, after all of that",
        daemon.memory("VmRSS:")?,
        daemon.memory("RssAnon:")?,
        daemon.memory("VmHWM:")?
    );
    if std::env::args().any(|word| word == "--brief") {
        return Ok(());
    }
    manager(&daemon).await
}

/// Changes the weight of one backend after the other, each as soon as the change before is answered.
fn weights(place: &Place) -> Result<()> {
    // By then the daemon has read the reports that the kernel sends after the start.
    std::thread::sleep(Duration::from_secs(2));
    let policies = Policies::open(Path::new(&place.pins()))?;
    let (mut swapped, mut answered) = (Vec::new(), Vec::new());
    for round in 0..CHANGES {
        let (service, backend) = (round * 7919 % SERVICES, round % BACKENDS);
        let (swap, answer) = policies.change(&place.socket(), service, backend, 50 + round % 47)?;
        if swap > Duration::from_millis(20) {
            eprintln!("change {round} took {swap:?}");
        }
        swapped.push(swap);
        answered.push(answer);
        // Keep out of step with the daemon's own timers.
        std::thread::sleep(Duration::from_micros(500 + round as u64 % 7 * 300));
    }
    percentiles("a weight by hand: in the datapath", swapped);
    percentiles("a weight by hand: answered", answered);
    Ok(())
}

/// Measures the manager's cost when nothing changes: the daemon's CPU time per interval with it, minus that without it.
async fn manager(daemon: &Daemon) -> Result<()> {
    const INTERVALS: u32 = 10;
    let interval = Duration::from_secs(1);
    let patch = |enabled| PatchManager {
        enabled: Some(enabled),
        interval: Some(interval.into()),
        ..PatchManager::default()
    };
    let updates = async || {
        Ok::<_, anyhow::Error>(daemon.client.read(&routes::STATUS, []).await?.weight_updates)
    };
    let (mut idle, mut managed, mut published) = (Vec::new(), Vec::new(), 0);
    for _ in 0..3 {
        for (enabled, figures) in [(false, &mut idle), (true, &mut managed)] {
            daemon.client.change(&routes::PATCH_MANAGER, [], &patch(enabled), false).await?;
            // By then weights are in the middle of their bounds, as without connections.
            tokio::time::sleep(20 * interval).await;
            let (before, cpu) = (updates().await?, daemon.cpu()?);
            tokio::time::sleep(INTERVALS * interval).await;
            figures.push((daemon.cpu()? - cpu) / INTERVALS);
            published += updates().await? - before;
        }
    }
    line("CPU a second, manager off", idle);
    line("CPU a second, manager on, a cycle a second", managed);
    ensure!(published == 0, "{published} weights published though nothing changed");
    Ok(())
}

/// Reloads as soon as the slots of removed backends are free again; returns how long the reload took.
async fn reload(client: &Client) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let started = Instant::now();
        match client.read(&routes::RELOAD, []).await {
            Ok(_) => return Ok(started.elapsed()),
            Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// The daemon: `DISPATCHER_BIN`, or the binary that is built together with this benchmark.
fn binary() -> PathBuf {
    std::env::var_os("DISPATCHER_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_dispatcher").into(), PathBuf::from)
}

fn line(name: &str, mut figures: Vec<Duration>) {
    figures.sort_unstable();
    let ms = |at: usize| figures[at].as_secs_f64() * 1e3;
    let (middle, last) = (figures.len() / 2, figures.len() - 1);
    println!("{name:44} {:9.1} {:9.1} {:9.1}", ms(middle), ms(0), ms(last));
}

fn percentiles(name: &str, mut figures: Vec<Duration>) {
    figures.sort_unstable();
    let ms =
        |hundredths: usize| figures[(figures.len() - 1) * hundredths / 100].as_secs_f64() * 1e3;
    let (middle, least, most) = (ms(50), ms(0), ms(100));
    println!(
        "{name:44} {middle:9.3} {least:9.3} {most:9.3}   p90 {:.3}, p99 {:.3}",
        ms(90),
        ms(99)
    );
}

/// A network namespace and a directory; dropping this value removes both.
struct Place {
    namespace: String,
    directory: PathBuf,
}

/// The daemon; dropping this value kills it.
struct Daemon {
    child: Child,
    client: Client,
}

impl Place {
    fn new() -> Result<Self> {
        let namespace = format!("dt-controller-{}", std::process::id());
        let directory = std::env::temp_dir().join(&namespace);
        fs::create_dir_all(&directory)?;
        let place = Self { namespace, directory };
        let namespace = &place.namespace;
        run(&format!("ip netns add {namespace}"))?;
        place.ip("link set lo up")?;
        place.ip("link add eth0 type veth peer name port")?;
        place.ip("link set port up")?;
        place.ip("link set eth0 up")?;
        place.ip("address add 10.9.0.1/16 dev eth0")?;
        for backend in 0..BACKENDS + ROUNDS {
            let mac = format!("02:00:00:00:01:{backend:02x}");
            place.ip(&format!("neigh add 10.9.1.{backend} lladdr {mac} dev eth0 nud permanent"))?;
        }
        Ok(place)
    }

    fn ip(&self, words: &str) -> Result<()> {
        run(&format!("ip -n {} {words}", self.namespace))
    }

    fn pins(&self) -> String {
        format!("/sys/fs/bpf/{}", self.namespace)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("dispatcher.toml")
    }

    /// Writes a configuration with this many services. The first backend has this weight and is this machine: 0, or one that
    /// no other backend has.
    fn write(&self, services: usize, (first_weight, machine): (usize, usize)) -> Result<()> {
        let mut text = format!(
            "interfaces = [\"eth0\"]\nxdp_mode = \"generic\"\napi_socket = {:?}\npin_dir = {:?}\n\n",
            self.socket(),
            self.pins()
        );
        for s in 0..services {
            let scheduler = if s % 2 == 0 { "wrr" } else { "maglev" };
            let (vip, port) = (s / 10, 80 + s % 10);
            writeln!(
                text,
                "[[service]]\nname = \"s{s}\"\nvip = \"10.9.2.{vip}\"\nport = {port}\nprotocol = \"tcp\"\n\
                 scheduler = {scheduler:?}\nweight_bound = 100\n"
            )?;
            for b in 0..BACKENDS {
                let (weight, machine) = match (s, b, machine) {
                    (0, 0, 0) => (first_weight, 0),
                    (0, 0, machine) => (first_weight, BACKENDS - 1 + machine),
                    _ => (1 + (s + b) % 10, b),
                };
                writeln!(
                    text,
                    "[[service.backend]]\nname = \"b{b}\"\naddress = \"10.9.1.{machine}\"\nweight = {weight}\n"
                )?;
            }
        }
        fs::write(self.config(), text).context("cannot write the configuration")
    }

    async fn start(&self) -> Result<Daemon> {
        let log = fs::File::create(self.directory.join("log"))?;
        let child = self
            .enter(binary())
            .args(["run", "--log-level", "warn", "-c"])
            .arg(self.config())
            .stderr(log)
            .spawn()?;
        let mut daemon = Daemon { child, client: Client::new(self.socket()) };
        let started = Instant::now();
        while daemon.client.read(&routes::STATUS, []).await.is_err() {
            let ended = daemon.child.try_wait()?.is_some();
            if ended || started.elapsed() > Duration::from_secs(60) {
                bail!("the daemon:\n{}", fs::read_to_string(self.directory.join("log"))?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(daemon)
    }

    /// Fetches the metrics; returns their length.
    fn scrape(&self) -> Result<usize> {
        let output = self.enter("curl").args(["-sf", "http://127.0.0.1:9464/metrics"]).output()?;
        Ok(output.stdout.len())
    }

    fn enter(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg(program.as_ref())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let detach = ["detach", "--all", "--pin-dir", &self.pins()];
        let _ = self.enter(binary()).args(detach).stdout(Stdio::null()).status();
        let _ = run(&format!("ip netns del {}", self.namespace));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Daemon {
    /// A value in MB from a line of its status.
    fn memory(&self, key: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// CPU time that it has used, user and system.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // USER_HZ is 100 on all machines that run this.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(line: &str) -> Result<()> {
    let words: Vec<_> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output()?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
