//! The command line: arguments ([`args`]), one file per verb, rendering ([`output`]).
//!
//! Every verb turns its arguments into the text for stdout, or a [`CliError`].

use std::{
    future::Future,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser as _;

use crate::{
    api::client::{Client, ClientError},
    settings::API_SOCKET,
};
use args::{Cli, Format, Verb};
use error::{CliError, exit};
use output::Style;

mod advisor;
mod agent;
pub mod args;
mod attach;
mod backend;
mod backends;
mod check;
mod completions;
mod connections;
mod detach;
pub mod error;
mod events;
mod manager;
pub mod output;
mod plan;
mod quiesce;
mod reload;
mod run;
mod service;
mod services;
mod status;
mod target;
mod weight;

type Outcome = Result<String, CliError>;

/// The program: parses the arguments, runs the verb, prints the result.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // If stderr is closed, the exit status is still right.
            drop(usage.print());
            return if usage.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let reported = perform(cli).and_then(|text| {
        let written = io::stdout().write_all(text.as_bytes());
        match written.and_then(|()| io::stdout().flush()) {
            // A reader such as `head` has seen enough.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| CliError::failed(format!("standard output: {e}"))),
        }
    });
    match reported {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(io::stderr().write_all(output::error(&error).as_bytes()));
            error.status.into()
        }
    }
}

fn perform(cli: Cli) -> Outcome {
    let ask = Ask { socket: cli.api_socket.clone() };
    match cli.verb {
        Verb::Run(args) => run::run(args, cli.api_socket),
        Verb::Check(args) => check::check(&args),
        Verb::Plan(args) => plan::plan(&ask, &args),
        Verb::Reload(args) => reload::reload(&ask, args.output),
        Verb::Attach(args) => attach::attach(&ask, &args),
        Verb::Detach(args) => detach::detach(&ask, args),
        Verb::Status(args) => status::status(&ask, args.output),
        Verb::Services(args) => services::services(&ask, args.output),
        Verb::Backends(args) => backends::backends(&ask, &args),
        Verb::Connections(args) => connections::connections(&ask, args),
        Verb::Service(args) => service::service(&ask, args),
        Verb::Backend(args) => backend::backend(&ask, args),
        Verb::Weight(args) => weight::weight(&ask, &args),
        Verb::Quiesce(args) => quiesce::quiesce(&ask, &args),
        Verb::Unquiesce(args) => target::unquiesce(&ask, &args),
        Verb::Up(args) => target::up(&ask, &args, true),
        Verb::Down(args) => target::up(&ask, &args, false),
        Verb::Events(args) => events::events(&ask, &args),
        Verb::Manager(args) => manager::manager(&ask, &args),
        Verb::Advisor(args) => advisor::advisor(&ask, &args),
        Verb::Agent(args) => agent::agent(args),
        Verb::Completions(args) => Ok(completions::completions(&args)),
    }
}

/// Sends requests to the daemon and waits for the answers.
#[derive(Clone, Debug)]
struct Ask {
    socket: Option<PathBuf>,
}

impl Ask {
    /// Makes requests with a client, on this thread.
    fn daemon<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        requests: impl FnOnce(Client) -> F,
    ) -> Result<T, CliError> {
        let socket = self.socket.clone().unwrap_or_else(|| API_SOCKET.into());
        Ok(block_on(requests(Client::new(socket)))??)
    }
}

/// Waits for a future, on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("cannot start a runtime: {e}")))?;
    Ok(runtime.block_on(future))
}

/// Renders a table for people or JSON for programs.
fn show<T: serde::Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T, &Style) -> String,
) -> Outcome {
    match format {
        Format::Table => Ok(table(value, &Style::of_stdout())),
        Format::Json => serde_json::to_string_pretty(value)
            .map(|json| json + "\n")
            .map_err(|e| CliError::failed(format!("cannot write json: {e}"))),
    }
}
