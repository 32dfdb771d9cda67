//! Golden files: tests compare a file in the repository with the text that the code makes, or write it.
//!
//! `DISPATCHER_BLESS=1` in the environment of a test writes the file. `cargo xtask docs` runs all tests whose name contains
//! `reference_page` that way: the pages in `docs/` that are made from tables in the code.

use std::{env, fs, path::Path};

/// First lines of a page that is made from the code, after its title.
pub const MADE_FROM_CODE: &str =
    "<!-- Made from the code by `cargo xtask docs`: change it there. -->\n\n";

/// Compares a file, named relative to the workspace's directory, with its text; with `DISPATCHER_BLESS=1` writes it.
///
/// # Panics
/// When the file differs or cannot be written.
pub fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if env::var_os("DISPATCHER_BLESS").is_some() {
        fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{file} differs from the code, which makes it:\n{text}\nhint: DISPATCHER_BLESS=1 writes it"
    );
}

/// Compares the part of a file between two marks with its text; with `DISPATCHER_BLESS=1` writes it.
///
/// # Panics
/// When the part differs, the marks are not in the file, or the file cannot be written.
pub fn check_between(file: &str, [begin, end]: [&str; 2], text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let part = found.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some([before, begin, text, end, after].concat())
    });
    check(file, &part.unwrap_or_else(|| panic!("{file} lacks {begin} and {end}")));
}

/// Text for a table's cell: no bars, no links to items, no line breaks.
#[must_use]
pub fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("[`", "`").replace("`]", "`").replace("crate::", "").replace('|', r"\|")
}
