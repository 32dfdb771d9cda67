//! Configuration: a TOML file, read whole, every error found, turned into a valid [`crate::model::Config`].
//!
//! The document is walked with its spans ([`mod@read`]). What has the right shape is then checked as a whole ([`check`]), by
//! the same functions that check a change at runtime. Every error carries its place in the file.

use std::path::Path;

use crate::{
    files::{self, Contents, FileError, NotText},
    model::Config,
};

pub mod check;
mod read;
mod reader;
mod save;

pub use reader::Reader;
pub use save::{Saved, save};

pub use crate::settings::{ConfigError, ConfigErrors, Place};

/// Reads and checks a configuration file.
///
/// # Errors
/// The file cannot be read, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    parse(&text_of(files::read(path, files::CONFIGURATION), &file)?, &file)
}

/// Reads and checks the text of a configuration; `file_name` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
    read::configuration(text, file_name)
}

/// The text of a file, read within [`files::PATIENCE`].
///
/// # Errors
/// The file cannot be read, or holds what is no text.
pub async fn read(path: &Path) -> Result<String, ConfigErrors> {
    let contents = files::read_in_time(path, files::CONFIGURATION).await;
    text_of(contents, &path.display().to_string())
}

/// What was read of a file as text; `file` is what errors call it.
fn text_of(contents: Result<Contents, FileError>, file: &str) -> Result<String, ConfigErrors> {
    let contents = contents.map_err(|error| {
        ConfigError::new("", format!("configuration file {file} cannot be read: {error}"))
    })?;
    text(contents.bytes, file)
}

/// Bytes as text; `file` is what errors call them.
///
/// # Errors
/// If they are not text.
pub fn text(bytes: Vec<u8>, file: &str) -> Result<String, ConfigErrors> {
    files::text(bytes).map_err(|NotText { line, column, message, hint }| {
        let place = Some(Place { file: file.to_owned(), line, column });
        ConfigError { place, ..ConfigError::new("", message).with_hint(hint) }.into()
    })
}

#[cfg(test)]
mod tests;
