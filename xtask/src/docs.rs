//! `cargo xtask docs [--check]`: the reference pages that come from the code.
//!
//! Reasons come from `dispatcher_common::reason`, maps and limits from the doc comments of `maps.rs` and `limits.rs`. The
//! pages are kept in the repository, so that they can be read there; `--check` fails when they differ from the code.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use dispatcher_common::{
    maps,
    reason::{Reason, Verdict},
};

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

fn pages() -> Result<[(&'static str, String); 2]> {
    Ok([("reasons.md", reasons()?), ("maps.md", maps_and_limits()?)])
}

/// Every reason, by what becomes of the packet.
fn reasons() -> Result<String> {
    let mut page = format!(
        "# Reasons\n\n{MARK}Every packet that a NIC with the dispatcher on it receives is counted once, in \
         `dispatcher_packets_total` and\n`dispatcher_bytes_total`, with its verdict and its reason. Where a service is \
         known, the reason is counted there as well.\n"
    );
    let verdicts = [
        (Verdict::Tx, "sent out of the NIC it came by"),
        (Verdict::Redirect, "sent out of another NIC"),
        (Verdict::Pass, "left to the kernel, byte for byte"),
        (Verdict::Drop, "discarded"),
    ];
    for (verdict, gloss) in verdicts {
        writeln!(page, "\n## `{}`: {gloss}\n\n| reason | when |\n|---|---|", verdict.as_str())?;
        for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == verdict) {
            writeln!(page, "| `{}` | {} |", reason.as_str(), cell(reason.describe()))?;
        }
    }
    Ok(page)
}

/// Every pinned map and every limit.
fn maps_and_limits() -> Result<String> {
    let maps_source = read("dispatcher-common/src/maps.rs")?;
    let limits_source = read("dispatcher-common/src/limits.rs")?;
    let mut page = format!(
        "# Maps and limits\n\n{MARK}Maps are pinned under these names in the directory that `dispatcher status` \
         names, in layout version {}.\n`bpftool map dump pinned FILE` shows one.\n\n| map | what it holds |\n|---|---|\n",
        maps::LAYOUT_VERSION
    );
    let documented = constants(&maps_source);
    for name in maps::ALL {
        let entry = documented.iter().find(|entry| entry.name == name);
        let entry = entry.with_context(|| format!("map {name} has no doc comment in maps.rs"))?;
        writeln!(page, "| `{name}` | {} |", cell(&entry.text))?;
    }
    writeln!(page, "\n## Limits\n\n| limit | value | |\n|---|---|---|")?;
    for entry in constants(&limits_source) {
        writeln!(page, "| `{}` | {} | {} |", entry.name, entry.value, cell(&entry.text))?;
    }
    Ok(page)
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(file)).with_context(|| file.to_owned())
}

/// Text for a table's cell: no bars, no links to items, no hard line breaks.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("[`", "`").replace("`]", "`").replace("crate::", "").replace('|', r"\|")
}

/// A public constant of a source file, with its doc comment.
#[derive(Debug)]
struct Constant {
    name: String,
    value: String,
    text: String,
}

fn constants(source: &str) -> Vec<Constant> {
    let (mut found, mut text) = (Vec::new(), String::new());
    for line in source.lines() {
        if let Some(doc) = line.strip_prefix("///") {
            text += doc;
            text.push(' ');
            continue;
        }
        let declared = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": "));
        if let Some((name, rest)) = declared {
            let value = rest.split_once(" = ").map_or("", |(_, value)| value.trim_end_matches(';'));
            found.push(Constant {
                name: name.to_owned(),
                value: value.to_owned(),
                text: text.clone(),
            });
        }
        text.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_the_repository_are_those_of_the_code() {
        check().unwrap();
    }

    #[test]
    fn every_reason_is_on_its_page() {
        let page = reasons().unwrap();
        assert_eq!(page.matches("\n| `").count(), Reason::ALL.len());
    }

    #[test]
    fn a_constant_is_found_with_its_comment() {
        let all = constants(
            "/// Two\n/// lines.\npub const A: u32 = 1 << 4;\n\npub const B: &str = \"b\";\n",
        );
        assert_eq!((all[0].name.as_str(), all[0].value.as_str()), ("A", "1 << 4"));
        assert_eq!((cell(&all[0].text).as_str(), all[1].text.as_str()), ("Two lines.", ""));
    }
}
