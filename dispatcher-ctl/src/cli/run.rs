//! `dispatcher run`: the daemon in the foreground.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use tracing_subscriber::{filter::Targets, fmt, prelude::*};

use super::{
    Outcome,
    args::{LogFormat, Run},
    error::CliError,
    output,
};
use crate::daemon::{self, Problems, RunOptions};

/// Threads of the daemon's runtime: it mostly waits, and the sweeper has its own thread.
const WORKERS: usize = 2;

pub(super) fn run(args: Run, api_socket: Option<PathBuf>) -> Outcome {
    daemon::set_up_memory();
    let problems = Problems::default();
    log(args.log_format, &args.log_level, Some(problems.clone()))?;
    let options = RunOptions {
        config: args.config,
        api_socket,
        leave_attached: args.leave_attached,
        problems,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("cannot start a runtime: {e}")))?;
    runtime.block_on(daemon::run(options))?;
    Ok(String::new())
}

/// Sends the log to stderr, and errors to `problems`, which keeps them.
pub(super) fn log(
    format: LogFormat,
    level: &str,
    problems: Option<Problems>,
) -> Result<(), CliError> {
    let level = if level.is_empty() { "info" } else { level };
    let filter: Targets = level.parse().map_err(|_| {
        CliError::usage(format!(
            "log level {level:?}: expected error, warn, info, debug, trace or a filter"
        ))
    })?;
    let lines = fmt::layer().with_writer(io::stderr);
    let log = tracing_subscriber::registry().with(problems);
    match format {
        LogFormat::Text => {
            let color = io::stderr().is_terminal() && output::color_wanted();
            log.with(lines.with_ansi(color).with_target(false).with_filter(filter)).init();
        }
        LogFormat::Json => log.with(lines.json().flatten_event(true).with_filter(filter)).init(),
    }
    Ok(())
}
