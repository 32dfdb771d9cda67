//! Configuration: a TOML file, read whole, every error found, turned into a valid [`crate::model::Config`].
//!
//! The document is walked with its spans ([`read`]); what has the right shape is then checked as a whole ([`check`]), by the
//! same functions that check a change at runtime. Every error carries its place in the file.

use std::path::Path;

use crate::model::Config;

mod advisor;
mod affinity;
pub mod check;
pub mod defaults;
mod document;
mod error;
mod exits;
mod keys;
mod manager;
mod read;
mod reader;
mod rule;
mod save;

pub use error::{ConfigError, ConfigErrors, Place};
pub use reader::Reader;
pub use save::save;

/// Reads and checks a configuration file.
///
/// # Errors
/// The file cannot be read, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    parse(&text_of(path, &file)?, &file)
}

/// Reads and checks the text of a configuration; `file_name` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
    read::configuration(text, file_name)
}

/// The text of a file; `file` is what errors call it.
fn text_of(path: &Path, file: &str) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(path).map_err(|error| unreadable(file, &error).into())
}

fn unreadable(file: &str, error: &std::io::Error) -> ConfigError {
    let what = if error.kind() == std::io::ErrorKind::InvalidData {
        "is not UTF-8 text".to_owned()
    } else {
        format!("cannot be read: {}", error.to_string().to_lowercase())
    };
    ConfigError::new("", format!("configuration file {file} {what}"))
}

#[cfg(test)]
mod tests;
