//! `exec`: a command looks at the backend and prints its load, or -1.

use std::{path::Path, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    sync::Semaphore,
    time::timeout,
};

use super::{Load, Target, reason};
use crate::{files, model::Advisor};

/// Commands that run at once.
static COMMANDS: Semaphore = Semaphore::const_new(64);
/// Bytes of what a command prints that are looked at.
const LONGEST: u64 = 4096;
/// Where a command finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn run(advisor: &Advisor, target: &Target) -> Result<Load, String> {
    let _turn = COMMANDS.acquire().await.map_err(|error| error.to_string())?;
    let address = target.address;
    let environment = [
        ("DISPATCHER_SERVICE", target.service.clone()),
        ("DISPATCHER_BACKEND", target.backend.clone()),
        ("DISPATCHER_ADDRESS", address.ip().to_string()),
        ("DISPATCHER_PORT", address.port().to_string()),
    ];
    let printed = printed_by(&advisor.command, &environment, advisor.receive_timeout).await?;
    let milliseconds = number(&printed)?;
    if milliseconds < 0.0 {
        return Err("the command says that it is down".to_owned());
    }
    let load = Duration::try_from_secs_f64(milliseconds / 1000.0);
    load.map(Load::Time).map_err(|_| unexpected(&printed))
}

/// What a command prints, in `patience`: its standard output. It runs in a process group of its own, of which nothing is left
/// when it takes longer, or when nobody waits any more.
///
/// # Errors
/// It cannot be run, takes too long, or fails: with what it says of that on standard error.
pub(crate) async fn printed_by(
    command: &[String],
    environment: &[(&str, String)],
    patience: Duration,
) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no command is set")?;
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
    let mut child = child.map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (output, errors) = tokio::join!(all(output), all(errors));
        (child.wait().await, output, errors)
    };
    let Ok((status, output, errors)) = timeout(patience, ended).await else {
        return Err(format!("the command has not ended within {patience:?}"));
    };
    // Its number may be another's from now on.
    group.0 = None;
    let status = status.map_err(|error| reason(&error))?;
    if status.success() {
        return Ok(output);
    }
    match errors.lines().next() {
        Some(line) => Err(format!("{status}: {line:?}")),
        None => Err(status.to_string()),
    }
}

/// The number that is all of a text.
///
/// # Errors
/// It is none.
pub(crate) fn number(printed: &str) -> Result<f64, String> {
    let number = printed.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| unexpected(printed))
}

fn unexpected(printed: &str) -> String {
    let begun: String = printed.trim().chars().take(40).collect();
    format!("the command prints {begun:?}, expected a number, or -1 for down")
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is what there is.
        let _read = pipe.take(LONGEST).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A process group that is killed unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Whoever is left of it: its leader has not been waited for, so that its number is nobody else's.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(script: &str) -> Result<String, String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = [("WORD", "well".to_owned())];
        printed_by(&command, &environment, Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn a_command_prints_in_the_time_it_has() {
        assert_eq!(printed("echo $WORD").await.unwrap(), "well\n");
        let error = printed("echo no such thing >&2; exit 3").await.unwrap_err();
        assert_eq!(error, "exit status: 3: \"no such thing\"");
        assert_eq!(printed("exit 1").await.unwrap_err(), "exit status: 1");
        let none = printed_by(&["/no/such".to_owned()], &[], Duration::from_secs(1)).await;
        assert_eq!(none.unwrap_err(), "/no/such: no such file or directory");
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let error = printed(&script).await.unwrap_err();
        assert_eq!(error, "the command has not ended within 500ms");
        let child = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        // A zombie until whoever adopts it looks.
        for _ in 0..100 {
            match std::fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z ") => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                _ => return,
            }
        }
        panic!("{stat} is there");
    }

    #[test]
    fn a_load_is_a_number() {
        assert_eq!(number(" 12.5\n"), Ok(12.5));
        assert_eq!(number("-1"), Ok(-1.0));
        for wrong in ["", "fine", "1 2", "nan", "inf", "1ms"] {
            let error = number(wrong).unwrap_err();
            assert!(error.ends_with("expected a number, or -1 for down"), "{error}");
        }
    }
}
