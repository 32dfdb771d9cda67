//! `maps.md`: every pinned map and every limit, from the doc comments of their declarations.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use dispatcher_common::maps;

use super::{MARK, cell, read};

/// The page.
///
/// # Errors
/// When a source file cannot be read, or a map has no doc comment.
pub(super) fn page() -> Result<String> {
    let maps_source = read("dispatcher-common/src/maps.rs")?;
    let limits_source = read("dispatcher-common/src/limits.rs")?;
    let mut page = format!(
        "# Maps and limits\n\n{MARK}Maps are pinned under these names in `pin_dir/netns-COOKIE/`, in layout \
         version {}.\n`bpftool map dump pinned FILE` shows one. A section is an \
         array whose only\nelement holds all values: the program finds them by address, without a search.\n\n| map | what it holds |\n|---|---|\n",
        maps::LAYOUT_VERSION
    );
    let documented = constants(&maps_source);
    for name in maps::ALL.into_iter().chain(maps::ON_DEMAND) {
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
    fn a_constant_is_found_with_its_comment() {
        let source =
            "/// Two\n/// lines.\npub const A: u32 = 1 << 4;\n\npub const B: &str = \"b\";\n";
        let all = constants(source);
        assert_eq!((all[0].name.as_str(), all[0].value.as_str()), ("A", "1 << 4"));
        assert_eq!((cell(&all[0].text).as_str(), all[1].text.as_str()), ("Two lines.", ""));
    }
}
