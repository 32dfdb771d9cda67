//! `dispatcher run`: the daemon in the foreground.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{
    Outcome,
    args::{LogFormat, Run},
    error::CliError,
    output,
};

/// What the daemon is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Configuration file.
    pub config: PathBuf,
    /// Instead of the file's `api_socket`.
    pub api_socket: Option<PathBuf>,
    /// Whether the datapath goes on forwarding after SIGTERM.
    pub leave_attached: bool,
}

pub(super) fn run(args: Run, api_socket: Option<PathBuf>) -> Outcome {
    log(args.log_format, &args.log_level)?;
    let options =
        RunOptions { config: args.config, api_socket, leave_attached: args.leave_attached };
    start(options)?;
    Ok(String::new())
}

fn start(options: RunOptions) -> Result<(), CliError> {
    Err(CliError::failed(format!(
        "configuration {}: no daemon in this build",
        options.config.display()
    )))
}

/// Sends the log to stderr.
fn log(format: LogFormat, level: &str) -> Result<(), CliError> {
    let level = if level.is_empty() { "info" } else { level };
    let filter = EnvFilter::try_new(level).map_err(|_| {
        CliError::usage(format!(
            "log level {level:?}: expected error, warn, info, debug, trace or a filter"
        ))
    })?;
    let log = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => {
            let color = io::stderr().is_terminal() && output::color_wanted();
            log.with(lines.with_ansi(color).with_target(false)).init();
        }
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}
