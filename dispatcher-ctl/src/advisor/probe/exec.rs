//! `exec`: a command looks at the backend and prints its load, or -1.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use super::{Fault, Load, Target, reason};
use crate::{model::Advisor, standstill::within};

/// Bytes of what a command prints that are looked at.
const LONGEST: u64 = 4096;
/// Where a command finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn run(advisor: &Advisor, target: &Target) -> Result<Load, Fault> {
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
        return Err(Fault::Backend("the command says that it is down".to_owned()));
    }
    let load = Duration::try_from_secs_f64(milliseconds / 1000.0);
    load.map(Load::Time).map_err(|_| Fault::Backend(unexpected(&printed)))
}

/// What a command prints, in `patience`: its standard output. It runs in a process group of its own, of which nothing is left
/// when it takes longer, or when nobody waits any more.
///
/// # Errors
/// It cannot be run, takes too long, or fails: with what it says of that on standard error. Whether it could not be run at
/// all, or was killed, is this host's fault; all else is what it says.
pub(crate) async fn printed_by(
    command: &[String],
    environment: &[(&str, String)],
    patience: Duration,
) -> Result<String, Fault> {
    let none = || Fault::Here("no command is set".to_owned());
    let (program, arguments) = command.split_first().ok_or_else(none)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Fault::Here(format!("{program}: {}", reason(&error))))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (output, errors) = tokio::join!(all(output), all(errors));
        (child.wait().await, output, errors)
    };
    let Ok((status, output, errors)) = within(patience, ended).await else {
        return Err(Fault::Backend(format!("the command has not ended within {patience:?}")));
    };
    // Its number may be another's from now on.
    group.0 = None;
    let status = status.map_err(|error| Fault::Here(reason(&error)))?;
    if status.success() {
        return Ok(output);
    }
    let said = match errors.lines().next() {
        Some(line) => format!("{status}: {line:?}"),
        None => status.to_string(),
    };
    Err(if has_run(status) { Fault::Backend(said) } else { Fault::Here(said) })
}

/// Whether an exit status is the command's own word. A shell ends with 126 or 127 where it cannot start what it is told to (as
/// `env` does for a script whose interpreter is gone); whoever was killed was not by us, and has said nothing.
fn has_run(status: ExitStatus) -> bool {
    status.code().is_some_and(|code| ![126, 127].contains(&code))
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

    async fn printed(script: &str) -> Result<String, Fault> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = [("WORD", "well".to_owned())];
        printed_by(&command, &environment, Duration::from_millis(500)).await
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
        assert_eq!(printed("kill -9 $$").await, ours("signal: 9 (SIGKILL)"));
        let none = printed_by(&["/no/such".to_owned()], &[], Duration::from_secs(1)).await;
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
