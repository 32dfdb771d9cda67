//! `dispatcher agent`: the metric agent in the foreground.

use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, args::Agent, block_on, error::CliError, run};
use crate::agent::{AgentConfig, serve};

pub(super) fn agent(args: Agent) -> Outcome {
    run::log(args.log_format, &args.log_level, None)?;
    let config = configured(args).map_err(CliError::usage)?;
    block_on(served(config))?.map_err(CliError::failed)?;
    Ok(String::new())
}

/// The file's settings, overridden by the command line.
fn configured(args: Agent) -> Result<AgentConfig, String> {
    let mut config = match args.config {
        Some(file) => block_on(AgentConfig::read(&file)).map_err(|error| error.message)??,
        None => AgentConfig::new(args.key_file.clone().unwrap_or_default()),
    };
    if let Some(key_file) = args.key_file {
        config.key_file = key_file;
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(interval) = args.interval {
        config.interval = interval;
    }
    if !args.metrics.is_empty() {
        config.metrics = args.metrics;
    }
    config.check()?;
    Ok(config)
}

async fn served(config: AgentConfig) -> Result<(), String> {
    let mut end = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let listen = config.listen;
    let ready = || {
        tracing::info!("answering requests for the load of this machine on {listen}");
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::warn!("cannot tell systemd that the agent is ready: {error}");
        }
    };
    tokio::select! {
        served = serve(config, ready) => served,
        _ = end.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
