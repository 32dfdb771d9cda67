//! Errors of a configuration: each with its place, all at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One error. Shown as `FILE:LINE:COLUMN: PATH: MESSAGE`, as far as these are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ConfigError {
    /// Where; nothing for a change at runtime.
    pub place: Option<Place>,
    /// Which value, such as `service[2].backend[0].weight`; empty for the whole and for a change at runtime.
    pub path: String,
    /// Object, value and what was expected: one line.
    pub message: String,
    /// How to correct it, where that is known.
    pub hint: Option<String>,
}

/// An error, and the values that it follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The error with its path.
    pub error: ConfigError,
    /// Paths of other values that it depends on: if one of them is wrong itself, this error is not reported. `[*]` means any.
    pub causes: Vec<String>,
}

impl Problem {
    /// The error of a change at runtime, where no path shows the table of a setting: its message names it.
    pub(crate) fn pathless(self) -> ConfigError {
        let ConfigError { path, message, .. } = &self.error;
        let table = path.rsplit_once('.').and_then(|(at, key)| Some((at.rsplit('.').next()?, key)));
        let is_nested = |table: &str| !table.ends_with(']') && !message.starts_with(table);
        let message = match table.filter(|(table, _)| is_nested(table)) {
            Some((table, key)) => {
                message.replacen(&format!(": {key} "), &format!(": {table}.{key} "), 1)
            }
            None => message.clone(),
        };
        ConfigError { path: String::new(), message, ..self.error }
    }
}

/// All errors: never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ConfigErrors {
    /// The first [`MOST_LISTED`] of them.
    pub listed: Vec<ConfigError>,
    /// How many more there are.
    pub more: usize,
}

/// The most errors that are listed; further ones are only counted.
pub const MOST_LISTED: usize = 100;

impl ConfigErrors {
    /// The first errors of a list, and the number of the others.
    #[must_use]
    pub fn new(mut errors: Vec<ConfigError>, more: usize) -> Self {
        let more = more + errors.len().saturating_sub(MOST_LISTED);
        errors.truncate(MOST_LISTED);
        Self { listed: errors, more }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.listed.len() + self.more
    }

    /// One line: the file, if it is known, and how many errors there are.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.listed.iter().find_map(|error| error.place.as_ref()) {
            Some(place) => format!("{}: {} errors", place.file, self.count()),
            None => format!("{} values are not valid", self.count()),
        }
    }

    /// Each error with its hint, and how many more there are.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let shown = |error: &ConfigError| match &error.hint {
            Some(hint) => format!("{error}\n  hint: {hint}"),
            None => error.to_string(),
        };
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.listed.iter().map(shown).chain(more).collect()
    }
}

impl ConfigError {
    /// An error without a place.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: None, path: path.into(), message: message.into(), hint: None }
    }

    /// With a hint how to correct it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigErrors {
    /// One line per error, followed by its hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self { listed: vec![error], more: 0 }
    }
}
