//! Files and clients that do not answer: they cause an error, and delay nobody.

use std::{
    fs::{self, File},
    net::{IpAddr, TcpStream},
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, fs::symlink, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_lab::{Daemon, Plan, VIP4, eventually};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use crate::{
    advisor_kinds::agent,
    common::{Web, backend, backend_of, lab, service, web_services},
};

/// The controller's time limit for a file.
const PATIENCE: Duration = Duration::from_secs(5);
const PROBED: &str =
    "[service.advisor]\nkind = \"connect\"\ntarget = \"address\"\ninterval = \"200ms\"\n\n";

/// A hanging mount: a FUSE file system without its server.
struct Hung {
    path: PathBuf,
    _device: File,
}

impl Hung {
    fn mount(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("hung"), path, Some("fuse"), MsFlags::empty(), Some(&*options))?;
        Ok(Self { path: path.to_owned(), _device: device })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Processes that wait get an error.
        let _ = umount2(&self.path, MntFlags::MNT_FORCE);
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

fn probes(daemon: &Daemon) -> Result<f64> {
    daemon.metric("dispatcher_advisor_probes_total", &["result=\"success\""])
}

/// Threads of the daemon that work on files.
fn file_threads(pid: u32) -> Result<usize> {
    let mut count = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.trim() == "file");
    }
    Ok(count)
}

#[test]
fn a_configuration_that_hangs_or_is_no_file_holds_up_nobody() -> Result<()> {
    let Some(lab) = lab(&Plan::new("hung").backends(2))? else { return Ok(()) };
    let _servers = lab.serve_web()?;
    let hung = lab.directory().join("hung");
    let script = hung.join("check");
    let exec = format!(
        "[service.advisor]\nkind = \"exec\"\ncommand = [{script:?}]\ninterval = \"200ms\"\n\n"
    );
    let services = web_services(&lab, &[1, 1]);
    let (web4, web6) = services.split_at(services.rfind("[[service]]").context("web6")?);
    let first = "[[service.backend]]";
    let with =
        |service: &str, advisor: &str| service.replacen(first, &format!("{advisor}{first}"), 1);
    let mut daemon = lab.daemon(&(with(web4, PROBED) + &with(web6, &exec)))?;
    daemon.start()?;
    let (config, real) = (daemon.config().to_owned(), lab.directory().join("real.toml"));
    fs::rename(&config, &real)?;
    let hung = Hung::mount(&hung)?;
    symlink("hung/dispatcher.toml", &config)?;
    daemon.process()?.signal(Signal::SIGHUP)?;
    daemon.process()?.signal(Signal::SIGHUP)?;
    let pid = daemon.pid().unwrap_or_default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| daemon.cli(["reload"]));
        let save = scope.spawn(|| daemon.cli(["weight", "web4", "web-1", "7", "--save"]));
        // Meanwhile the daemon probes, answers, and executes commands.
        let before = probes(&daemon)?;
        daemon.ok("weight web4 web-2 3")?;
        eventually(PATIENCE, "probes that go on", || Ok(probes(&daemon)? > before + 3.0))?;
        assert_eq!(backend_of(&daemon, "web4", "web-2")?["weight"], 3);
        // One thread waits for the configuration, one for the script.
        assert_eq!(file_threads(pid)?, 2);
        ensure!(begun.elapsed() < PATIENCE, "that took {:?}", begun.elapsed());
        for (what, said) in [("reload", reload.join()), ("save", save.join())] {
            let said = said.unwrap()?;
            assert_ne!(said.status, 0, "{what}: {}{}", said.out, said.err);
            let is_named =
                ["does not answer within 5 s", "is under way"].iter().any(|w| said.err.contains(w));
            assert!(is_named, "{what}: {}", said.err);
        }
        anyhow::Ok(())
    })?;
    assert_eq!(backend_of(&daemon, "web4", "web-1")?["weight"], 1, "refused: nothing is changed");
    assert_eq!(file_threads(pid)?, 2, "no more, however often they are asked for");
    // The mount is gone: the file answers again, or is not a regular file.
    drop(hung);
    type Make = fn(&Path) -> Result<()>;
    let fifo: Make = |path| Ok(mkfifo(path, Mode::S_IRUSR)?);
    let endless: Make = |path| Ok(symlink("/dev/zero", path)?);
    let huge: Make = |path| Ok(File::create(path)?.set_len(600 << 20)?);
    for make in [fifo, endless, huge] {
        fs::remove_file(&config)?;
        make(&config)?;
        let refused = daemon.cli(["reload"])?;
        assert_eq!(refused.status, 2, "{}{}", refused.out, refused.err);
        let is_named =
            ["expected a regular file", "longer than"].iter().any(|w| refused.err.contains(w));
        assert!(is_named, "{}", refused.err);
    }
    fs::remove_file(&config)?;
    fs::rename(&real, &config)?;
    daemon.ok("reload")?;
    assert_eq!(backend_of(&daemon, "web4", "web-2")?["weight"], 3, "set by hand");
    Ok(())
}

#[test]
fn idle_connections_lock_nobody_out() -> Result<()> {
    let Some(lab) = lab(&Plan::new("idle").backends(1))? else { return Ok(()) };
    let node = &lab.backends[0];
    let key = node.directory().join("agent.key");
    fs::write(&key, "the key of this laboratory")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let _agent = agent(node, "agent", 10_004, &["--metric", "cpu=100"])?;
    let advisor = format!(
        "advisor = {{ kind = \"agent\", target = \"address\", interval = \"200ms\", key_file = {key:?} }}\n\n"
    );
    let services = service("web", IpAddr::V4(VIP4), 80, "tcp") + &advisor;
    let mut daemon = lab.daemon(&(services + &backend(node.name(), node.v4().into(), 1)))?;
    daemon.start()?;
    eventually(Duration::from_secs(10), "a first answer", || Ok(probes(&daemon)? > 0.0))?;
    // More connections than each listener has places; all are silent.
    let dial = |address: (IpAddr, u16), number| -> Result<Vec<_>> {
        Ok((0..number).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?)
    };
    let _to_agent = lab.client().enter(|| dial((node.v4().into(), 10_004), 200))?;
    let _to_metrics = lab.lb.enter(|| dial(([127, 0, 0, 1].into(), 9464), 80))?;
    let socket = lab.directory().join("api.sock");
    let _to_api = (0..300).map(|_| UnixStream::connect(&socket)).collect::<Result<Vec<_>, _>>()?;
    let (good, bad) = (probes(&daemon)?, failures(&daemon)?);
    eventually(Duration::from_secs(10), "probes that go on", || Ok(probes(&daemon)? > good + 5.0))?;
    assert_eq!(failures(&daemon)?, bad, "{}", daemon.json("advisor report")?);
    assert_eq!(backend_of(&daemon, "web", node.name())?["up"], true);
    Ok(())
}

fn failures(daemon: &Daemon) -> Result<f64> {
    daemon.metric("dispatcher_advisor_probes_total", &["result=\"failure\""])
}

#[test]
fn a_saved_file_keeps_owner_mode_line_ends_and_link() -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(web) = Web::start("keeps", &[2, 1])? else { return Ok(()) };
    let (config, real) = (web.daemon.config(), web.lab.directory().join("real.toml"));
    let text = fs::read_to_string(config)?;
    let text = format!("\u{feff}# größer\n{text}").replace('\n', "\r\n").replacen("\r\n", "\n", 1);
    fs::write(&real, &text)?;
    fs::remove_file(config)?;
    symlink("real.toml", config)?;
    std::os::unix::fs::chown(&real, Some(1234), Some(4321))?;
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640))?;
    web.daemon.ok("reload")?;
    web.daemon.ok("weight web4 web-1 7 --save")?;
    assert_eq!(fs::read_to_string(&real)?, text.replacen("weight = 2", "weight = 7", 1));
    let now = fs::metadata(&real)?;
    assert_eq!((now.uid(), now.gid(), now.mode() & 0o7777), (1234, 4321, 0o640));
    assert_eq!(fs::read_link(config)?, Path::new("real.toml"));
    // A file that is a mount point cannot be replaced: that is reported before anything changes.
    mount(Some(&real), &real, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let refused = web.daemon.cli(["weight", "web4", "web-1", "3", "--save"]);
    umount2(&real, MntFlags::MNT_DETACH)?;
    let refused = refused?;
    assert!(refused.status != 0 && refused.err.contains("it is a mount point"), "{}", refused.err);
    assert_eq!(backend_of(&web.daemon, "web4", "web-1")?["weight"], 7);
    Ok(())
}
