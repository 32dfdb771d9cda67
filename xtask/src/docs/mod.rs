//! `cargo xtask docs [--check]`: the reference pages that come from the code.
//!
//! Reasons come from `dispatcher_common::reason`, maps and limits from the doc comments of `maps.rs` and `limits.rs`,
//! metrics from their declarations. The pages are kept in the repository, so that they can be read there; `--check` fails
//! when they differ from the code.

mod maps;
mod metrics;
mod reasons;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{setup, workspace};

const MARK: &str = "<!-- Made from the code by `cargo xtask docs`: change it there. -->\n\n";

/// Runs the task: writes the pages, or with `--check` compares them.
///
/// # Errors
/// When a page cannot be written, or under `--check` differs from the code.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    setup::ensure(setup::Need::Build)?;
    match words {
        [] => write(),
        ["--check"] => check(),
        _ => bail!("docs: {}: expected nothing or --check", words.join(" ")),
    }
}

/// Compares the pages with the code.
///
/// # Errors
/// When a page differs.
pub(crate) fn check() -> Result<()> {
    for (name, text) in pages()? {
        let path = workspace::root().join("docs").join(name);
        if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("docs/{name} differs from the code\nhint: cargo xtask docs");
        }
    }
    Ok(())
}

fn write() -> Result<()> {
    for (name, text) in pages()? {
        let path = workspace::root().join("docs").join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("wrote docs/{name}");
    }
    Ok(())
}

fn pages() -> Result<[(&'static str, String); 3]> {
    Ok([
        ("reasons.md", reasons::page()?),
        ("metrics.md", metrics::page()?),
        ("maps.md", maps::page()?),
    ])
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(file)).with_context(|| file.to_owned())
}

/// Text for a table's cell: no bars, no links to items, no hard line breaks.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("[`", "`").replace("`]", "`").replace("crate::", "").replace('|', r"\|")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pages_in_the_repository_are_those_of_the_code() {
        super::check().unwrap();
    }
}
