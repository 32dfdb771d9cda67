//! Rendering for people: values in, text out. Tables are plain columns, so that they are also readable in a log.

use std::{
    env,
    io::{self, IsTerminal as _},
    time::{SystemTime, UNIX_EPOCH},
};

use super::error::CliError;
pub use crate::model::text::{escaped as clean, shortened};

pub mod advisors;
pub mod backends;
pub mod connections;
pub mod events;
mod health;
pub mod manager;
pub mod plan;
pub mod services;
pub mod status;
mod table;
pub mod units;

use table::{Column, Paint, Table};

/// How to render.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
    /// The current time, in seconds since the epoch.
    pub now: f64,
}

impl Style {
    /// The style for standard output: colour on a terminal, unless `NO_COLOR` is set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { color: io::stdout().is_terminal() && color_wanted(), now: now.as_secs_f64() }
    }
}

/// Whether the environment allows colours (<https://no-color.org>).
#[must_use]
pub fn color_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// One line of output.
#[must_use]
pub fn line(text: impl AsRef<str>) -> String {
    clean(text.as_ref()) + "\n"
}

/// The text of an error for stderr: every detail, the error, the hint, one line each.
#[must_use]
pub fn error(error: &CliError) -> String {
    let hint = error.hint.as_ref().map(|hint| format!("hint: {hint}"));
    let lines = error.details.iter().flat_map(|detail| detail.lines());
    let lines = lines.chain(error.message.lines()).chain(hint.iter().flat_map(|hint| hint.lines()));
    lines.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_steers_no_terminal() {
        let text =
            error(&CliError::usage("service \u{1b}[2Jx: is not there\nand so on").hint("none\r"));
        assert_eq!(text, "service \\u{1b}[2Jx: is not there\nand so on\nhint: none\\r\n");
    }
}
