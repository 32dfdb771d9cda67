//! Errors of a verb: the text on stderr and the exit status.

use crate::{
    api::{
        client::ClientError,
        types::{ApiError, ErrorKind},
    },
    config::ConfigErrors,
    daemon::StartError,
};

/// Exit statuses.
pub mod exit {
    /// The attempt failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 2;
    /// No daemon.
    pub const NO_DAEMON: u8 = 3;
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// Exit status.
    pub status: u8,
    /// Every error of a refused configuration.
    pub details: Vec<String>,
    /// One line; after `details` it is the summary.
    pub message: String,
    /// How to fix it, if known.
    pub hint: Option<String>,
}

impl CliError {
    /// The attempt failed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { status: exit::FAILED, details: Vec::new(), message: message.into(), hint: None }
    }

    /// Wrong usage or configuration.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { status: exit::USAGE, ..Self::failed(message) }
    }

    /// Adds a hint how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigErrors> for CliError {
    /// A single error needs no summary; for several, the summary is the file's name and their number.
    fn from(errors: ConfigErrors) -> Self {
        if let [error] = &errors.listed[..] {
            return Self { hint: error.hint.clone(), ..Self::usage(error.to_string()) };
        }
        Self { details: errors.lines(), ..Self::usage(errors.summary()) }
    }
}

impl From<StartError> for CliError {
    fn from(StartError(error): StartError) -> Self {
        error.into()
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        let status = match error.kind {
            ErrorKind::Invalid => exit::USAGE,
            ErrorKind::Failed | ErrorKind::NotFound | ErrorKind::Conflict => exit::FAILED,
        };
        Self { status, details: error.errors, message: error.error, hint: error.hint }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::NoDaemon { .. } => {
                Self { status: exit::NO_DAEMON, ..Self::failed(message) }
                    .hint("dispatcher run -c FILE, or --api-socket PATH if it listens elsewhere")
            }
            ClientError::Denied { .. } => {
                Self::failed(message).hint("run it as root, or as a member of the socket's group")
            }
            ClientError::Broken { .. } => Self::failed(message),
            ClientError::Refused(refused) => refused.into(),
        }
    }
}
