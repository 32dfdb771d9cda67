//! Errors on the API: one line for people, its kind for programs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::settings::ConfigErrors;

/// Why a request was refused. Nothing was changed.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error,
)]
#[error("{error}")]
pub struct ApiError {
    /// Its kind: the HTTP status.
    #[serde(skip)]
    pub kind: ErrorKind,
    /// One line: object, value, what was expected.
    pub error: String,
    /// What to do about it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every error of a configuration that was refused; `error` has their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    /// It was tried and failed: 500.
    #[default]
    Failed,
    /// There is no such object: 404.
    NotFound,
    /// A value is not valid: 422.
    Invalid,
    /// The object exists already, a name means several objects, or a reload or a save is under way: 409.
    Conflict,
}

impl ErrorKind {
    /// Its HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Failed => 500,
            Self::NotFound => 404,
            Self::Invalid => 422,
            Self::Conflict => 409,
        }
    }

    /// The kind of a status.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            404 => Self::NotFound,
            409 => Self::Conflict,
            400..=499 => Self::Invalid,
            _ => Self::Failed,
        }
    }
}

impl ApiError {
    /// An error of a kind.
    #[must_use]
    pub fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self { kind, error: error.into(), hint: None, errors: Vec::new() }
    }

    /// It was tried and failed.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, error)
    }

    /// There is no such object.
    #[must_use]
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, error)
    }

    /// A value is not valid.
    #[must_use]
    pub fn invalid(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, error)
    }

    /// The object exists already, or a name means several.
    #[must_use]
    pub fn conflict(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, error)
    }

    /// With a hint what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With every single error.
    #[must_use]
    pub fn errors(mut self, errors: Vec<String>) -> Self {
        self.errors = errors;
        self
    }
}

impl From<ConfigErrors> for ApiError {
    /// One error is the message; several are counted and listed.
    fn from(errors: ConfigErrors) -> Self {
        match &errors.listed[..] {
            [only] => Self { hint: only.hint.clone(), ..Self::invalid(only.to_string()) },
            _ => Self::invalid(errors.summary()).errors(errors.lines()),
        }
    }
}
