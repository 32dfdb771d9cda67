//! One command at one event: the event goes into its environment and, as JSON, to its standard input.

use std::{io, path::Path, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::{
    api::types::Event,
    files::{self, FileError},
    standstill,
};

/// Bytes of standard error that are looked at.
const STDERR: usize = 4096;
/// Characters of its first line that are logged.
const LINE: usize = 200;
/// How long standard error may come after the end: whoever else holds it may do so for ever.
const LATE: Duration = Duration::from_millis(100);
/// Variables by which a service manager speaks to the daemon, and to nobody else.
const PRIVATE: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS"];

/// How a command has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With status 0.
    Success,
    /// In another way, or it has not begun: one line.
    Failure(String),
    /// It was killed.
    Timeout,
}

/// Runs a command for this time at most; then it is killed with its process group, as when this future is dropped.
pub(super) async fn run(words: &[String], event: &Event, at_most: Duration) -> Outcome {
    let failed = |what: &str, e: &dyn std::fmt::Display| Outcome::Failure(format!("{what}: {e}"));
    let json = match serde_json::to_value(event) {
        Ok(json) => json,
        Err(e) => return failed("event", &e),
    };
    let mut group = match start(words, &json).await {
        Ok(child) => Group(child),
        Err(e) => return failed("cannot be started", &e),
    };
    let ended = standstill::within(at_most, async {
        if let Some(mut stdin) = group.0.stdin.take() {
            // It need not read it.
            let _ = stdin.write_all(format!("{json}\n").as_bytes()).await;
        }
        wait(&mut group.0).await
    });
    match ended.await {
        Err(_) => {
            group.kill();
            // Killed, it ends; reaped, its number is free.
            let _ = group.0.wait().await;
            Outcome::Timeout
        }
        Ok((Ok(status), _)) if status.success() => Outcome::Success,
        Ok((Ok(status), said)) if said.is_empty() => Outcome::Failure(status.to_string()),
        Ok((Ok(status), said)) => Outcome::Failure(format!("{status}: {said}")),
        Ok((Err(e), _)) => failed("cannot be waited for", &e),
    }
}

async fn start(words: &[String], event: &serde_json::Value) -> Result<Child, FileError> {
    let (program, arguments) =
        words.split_first().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    PRIVATE.iter().for_each(|name| {
        command.env_remove(name);
    });
    // Variables of other events are removed; the daemon's own address stays.
    for (name, _) in std::env::vars_os() {
        let is_ours = name.as_encoded_bytes().starts_with(b"DISPATCHER_");
        if is_ours && name != "DISPATCHER_API_SOCKET" {
            command.env_remove(name);
        }
    }
    command.envs(environment(event));
    // SAFETY: between fork and exec only what is safe in a signal handler may be called. This is one system call on plain
    // numbers; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            // Descriptors that the daemon inherited. (On exec, because the standard library still uses its own pipe.)
            let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
            match libc::close_range(3, libc::c_uint::MAX, flags) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    files::spawn(Path::new(program), command).await
}

/// Every field of an event that is a text, a number or a flag: `DISPATCHER_SERVICE`, …
fn environment(event: &serde_json::Value) -> Vec<(String, String)> {
    let fields = event.as_object().into_iter().flatten();
    let said = fields.filter_map(|(name, value)| {
        let value = match value {
            // No variable holds a NUL.
            serde_json::Value::String(text) => text.replace('\0', " "),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => value.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => return None,
        };
        Some((format!("DISPATCHER_{}", name.to_uppercase()), value))
    });
    said.collect()
}

/// Its end, and the first line that it wrote to standard error until then.
async fn wait(child: &mut Child) -> (io::Result<std::process::ExitStatus>, String) {
    let Some(mut stderr) = child.stderr.take() else { return (child.wait().await, String::new()) };
    let mut said = Vec::new();
    let status = tokio::select! {
        status = child.wait() => {
            let _ = timeout(LATE, read(&mut stderr, &mut said)).await;
            status
        }
        // It has closed it, and goes on.
        () = read(&mut stderr, &mut said) => child.wait().await,
    };
    (status, first_line(&said))
}

/// Reads to the end; keeps the beginning.
async fn read(stderr: &mut ChildStderr, said: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let room = STDERR.saturating_sub(said.len());
        said.extend_from_slice(&piece[..length.min(room)]);
    }
}

fn first_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LINE).collect()
}

/// A child that leads a process group; dropped before its end, all of the group is killed.
struct Group(Child);

impl Group {
    fn kill(&self) {
        // While it is not reaped, its number is nobody else's.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // It may have ended just now, and the group with it.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api::types::EventKind;

    fn event() -> Event {
        let kind = EventKind::ServerDown {
            service: "web".to_owned(),
            backend: "web-1".to_owned(),
            address: "2001:db8::1".parse().unwrap(),
            reason: "down: http status 503, \0 expected 200".to_owned(),
        };
        Event { id: 7, time: 1.5, kind }
    }

    async fn sh(script: &str, at_most: u64) -> Outcome {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&words, &event(), Duration::from_millis(at_most)).await
    }

    #[tokio::test]
    async fn the_event_is_in_the_environment_and_on_standard_input() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let script = format!(
            "(env | grep ^DISPATCHER_ | sort; cat; ls /proc/self/fd | wc -l) > {}",
            out.display()
        );
        assert_eq!(sh(&script, 5000).await, Outcome::Success);
        let said = std::fs::read_to_string(out).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(
            lines[..7],
            [
                "DISPATCHER_ADDRESS=2001:db8::1",
                "DISPATCHER_BACKEND=web-1",
                "DISPATCHER_EVENT=server_down",
                "DISPATCHER_ID=7",
                "DISPATCHER_REASON=down: http status 503,   expected 200",
                "DISPATCHER_SERVICE=web",
                "DISPATCHER_TIME=1.5",
            ]
        );
        assert_eq!(serde_json::from_str::<Event>(lines[7]).unwrap(), event());
        assert_eq!(lines[8], "4", "standard input, output and error, and the listing's own");
    }

    #[tokio::test]
    async fn failures_say_why() {
        let failure = |text: &str| Outcome::Failure(text.to_owned());
        assert_eq!(sh("exit 3", 5000).await, failure("exit status: 3"));
        let script = "echo '\n one\u{1b}[2J\ntwo' >&2; exit 4";
        assert_eq!(sh(script, 5000).await, failure("exit status: 4: one[2J"));
        assert_eq!(sh("kill -9 $$", 5000).await, failure("signal: 9 (SIGKILL)"));
        let words = ["/nowhere/at/all".to_owned()];
        let Outcome::Failure(why) = run(&words, &event(), Duration::from_secs(1)).await else {
            panic!("it was started")
        };
        assert!(why.starts_with("cannot be started: no such file"), "{why}");
    }

    #[tokio::test]
    async fn what_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let start = Instant::now();
        assert_eq!(sh(&script, 400).await, Outcome::Timeout);
        assert!(start.elapsed() < Duration::from_secs(3));
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        // A zombie until somebody reaps it, if anything.
        let gone = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(start.elapsed() < Duration::from_secs(5), "the child lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_holds_standard_error_open_delays_nothing() {
        let start = Instant::now();
        assert_eq!(sh("sleep 3 & exit 0", 60_000).await, Outcome::Success);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // Much on standard error and nobody who reads standard input: it ends all the same.
        let script = "head -c 1000000 /dev/zero >&2";
        assert_eq!(sh(script, 60_000).await, Outcome::Success);
    }
}
