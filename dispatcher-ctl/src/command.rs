//! Runs commands that print a number: probes of kind `exec`, and metrics of the agent.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    signal::unix::{SignalKind, signal},
};

use crate::{
    fault::{Fault, reason},
    files,
    standstill::within,
};

/// Bytes of a command's output that are kept; the rest is discarded.
const LONGEST: usize = 4096;
/// Where a command finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a command and returns its standard output. It runs in a process group of its own, which is killed when the
/// command ends, exceeds `patience`, or the caller gives up: a process that it leaves behind neither delays the answer
/// nor accumulates.
///
/// # Errors
/// It cannot be started, takes too long, or fails; then with its standard error. A command that cannot be started is
/// this host's fault; every other failure is the command's verdict.
pub(crate) async fn run(
    command: &[String],
    environment: &[(&str, String)],
    patience: Duration,
) -> Result<String, Fault> {
    let none = || Fault::Here("no command is set".to_owned());
    let (program, arguments) = command.split_first().ok_or_else(none)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = files::spawn(Path::new(program), command).await;
    let mut child = child.map_err(|error| Fault::Here(format!("{program}: {error}")))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let group = Group(id);
    let (mut output, mut errors) =
        (Output::new(child.stdout.take()), Output::new(child.stderr.take()));
    let ended = async {
        let mut exit = pin!(wait_for_exit(id));
        tokio::select! {
            result = &mut exit => result,
            () = async { tokio::join!(output.read_all(), errors.read_all()).0 } => exit.await,
        }
    };
    let Ok(ended) = within(patience, ended).await else {
        return Err(Fault::Backend(format!("the command has not ended within {patience:?}")));
    };
    let here = |error: io::Error| Fault::Here(reason(&error));
    ended.map_err(here)?;
    drop(group);
    let (output, errors) = (output.into_text(), errors.into_text());
    let status = child.wait().await.map_err(here)?;
    if status.success() {
        return Ok(output);
    }
    let said = match first_line(&errors) {
        Some(line) => format!("{status}: {line:?}"),
        None => status.to_string(),
    };
    Err(if has_run(status) { Fault::Backend(said) } else { Fault::Here(said) })
}

/// Whether an exit status is the command's own result. A shell exits with 126 or 127 if it cannot start a command (as
/// `env` does for a script whose interpreter is missing). A command that a signal killed did run, and failed.
fn has_run(status: ExitStatus) -> bool {
    !matches!(status.code(), Some(126 | 127))
}

/// Waits until a process has ended, without reaping it: until it is reaped, no other process gets its number or its
/// group's.
async fn wait_for_exit(process: Option<Pid>) -> io::Result<()> {
    let Some(process) = process else { return Ok(()) };
    let mut ends = signal(SignalKind::child())?;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(process), flags)? == WaitStatus::StillAlive {
        ends.recv().await;
    }
    Ok(())
}

/// The number in a text's first line. Blank lines before it and any lines after it are ignored.
///
/// # Errors
/// The line is no number.
pub(crate) fn number(printed: &str) -> Result<f64, String> {
    let number = first_line(printed).and_then(|line| line.parse::<f64>().ok());
    number.filter(|number| number.is_finite()).ok_or_else(|| unexpected(printed))
}

/// What is wrong with a text that is no load.
pub(crate) fn unexpected(printed: &str) -> String {
    let begun: String = printed.trim().chars().take(40).collect();
    format!("the command prints {begun:?}, expected a number, or -1 for down")
}

/// The first line that is not blank, trimmed.
fn first_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty())
}

/// What a command has printed so far.
struct Output<P> {
    pipe: Option<P>,
    kept: Vec<u8>,
}

impl<P: AsyncRead + AsFd + Unpin> Output<P> {
    fn new(pipe: Option<P>) -> Self {
        Self { pipe, kept: Vec::new() }
    }

    /// Reads until all writers have closed the pipe.
    async fn read_all(&mut self) {
        let mut piece = [0; 4096];
        // After an error, what was read so far counts.
        while let Some(pipe) = &mut self.pipe
            && let Ok(length @ 1..) = pipe.read(&mut piece).await
        {
            self.keep(&piece[..length]);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LONGEST - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Returns all output: also reads what is in the pipe now, without waiting.
    fn into_text(mut self) -> String {
        let mut piece = [0; LONGEST];
        while let Some(pipe) = &self.pipe
            && self.kept.len() < LONGEST
            && let Ok(length @ 1..) = nix::unistd::read(pipe, &mut piece)
        {
            self.keep(&piece[..length]);
        }
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// A process group; all of it is killed on drop.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Its leader is not reaped yet, so no other group has this number.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed_in(patience: Duration, script: &str) -> Result<String, Fault> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = [("WORD", "well".to_owned())];
        run(&command, &environment, patience).await
    }

    async fn printed(script: &str) -> Result<String, Fault> {
        printed_in(Duration::from_millis(500), script).await
    }

    /// As [`printed`], with more time than any of these commands needs.
    async fn printed_at_last(script: &str) -> Result<String, Fault> {
        printed_in(Duration::from_secs(30), script).await
    }

    #[tokio::test]
    async fn a_command_prints_in_the_time_it_has() {
        assert_eq!(printed("echo $WORD").await.unwrap(), "well\n");
        let backends = |text: &str| Err(Fault::Backend(text.to_owned()));
        let ours = |text: &str| Err(Fault::Here(text.to_owned()));
        let found = printed("echo no such thing >&2; exit 3").await;
        assert_eq!(found, backends("exit status: 3: \"no such thing\""));
        assert_eq!(printed("exit 1").await, backends("exit status: 1"));
        assert_eq!(printed("exit 127").await, ours("exit status: 127"));
        assert_eq!(printed("kill -9 $$").await, backends("signal: 9 (SIGKILL)"));
        let none = run(&["/no/such".to_owned()], &[], Duration::from_secs(1)).await;
        assert_eq!(none, ours("/no/such: no such file or directory"));
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let error = printed(&script).await.unwrap_err();
        assert_eq!(error.to_string(), "the command has not ended within 500ms");
        let child = std::fs::read_to_string(file).unwrap();
        for _ in 0..100 {
            if !is_alive(child.trim()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {child} is there");
    }

    /// Whether a process has not ended.
    fn is_alive(process: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        // It is a zombie until its new parent reaps it.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_neither_delays_nor_stays() {
        let said = printed_at_last("echo 12; echo more; sleep 60 & echo $!").await.unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], ["12", "more"]);
        let failed = printed_at_last("sleep 60 & echo broken >&2; exit 2").await.unwrap_err();
        assert_eq!(failed.to_string(), "exit status: 2: \"broken\"");
        let gone = async {
            while is_alive(lines[2]) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("it is killed");
    }

    #[tokio::test]
    async fn a_command_may_close_its_output_early_or_say_too_much() {
        assert_eq!(printed_at_last("echo 12; exec >&- 2>&-; sleep 0.05").await.unwrap(), "12\n");
        let late = Fault::Backend("the command has not ended within 500ms".to_owned());
        let error = printed("exec >&- 2>&-; sleep 60").await.unwrap_err();
        assert_eq!(error, late);
        let much =
            printed_at_last("echo 7; head -c 1000000 /dev/zero; echo end >&2").await.unwrap();
        assert_eq!((much.len(), number(&much)), (LONGEST, Ok(7.0)));
        let endless = printed("yes").await.unwrap_err();
        assert_eq!(endless, late);
        let killed = Fault::Backend("signal: 9 (SIGKILL)".to_owned());
        assert_eq!(printed_at_last("kill -9 $$").await.unwrap_err(), killed);
    }

    #[test]
    fn a_load_is_a_number() {
        for (printed, want) in [
            (" 12.5\n", 12.5),
            ("-1", -1.0),
            ("12\nmore\n", 12.0),
            ("12\r\n", 12.0),
            ("\n\t 12 \n-1", 12.0),
        ] {
            assert_eq!(number(printed), Ok(want), "{printed:?}");
        }
        for wrong in ["", "\n", "fine", "fine\n12", "1 2", "nan", "inf", "1ms"] {
            let error = number(wrong).unwrap_err();
            assert!(error.ends_with("expected a number, or -1 for down"), "{error}");
        }
    }
}
