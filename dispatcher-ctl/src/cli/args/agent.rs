//! `agent`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgGroup, Args, ValueHint};

use super::LogFormat;
use crate::agent::Metric;

/// `agent`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("key").args(["config", "key_file"]).required(true).multiple(true))]
pub struct Agent {
    /// Configuration file; options given here override it
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// File with the key that is shared with the dispatcher
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
    /// Where the agent listens
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        help = "Where the agent listens [default: [::]:10004]"
    )]
    pub listen: Option<SocketAddr>,
    /// Interval of measurements [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub interval: Option<std::time::Duration>,
    /// Part of the load, in per cent: cpu=N, memory=N or PROGRAM=N; may be repeated [default: cpu=50 memory=50]
    #[arg(long = "metric", value_name = "METRIC=N")]
    pub metrics: Vec<Metric>,
    /// Format of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}
