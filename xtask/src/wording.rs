//! Refuses the most common slips from plain English: module headers that are questions, and archaic phrases.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// Phrases that comments and pages must not contain.
const PHRASES: [&str; 6] =
    ["anew", "by and by", "for want of", "goes without saying", "it is no news", "would have it"];
const MARKDOWN: &str = "md";

/// Checks all Rust files and pages of the workspace.
///
/// # Errors
/// A file cannot be read, or contains slips; lists all of them.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut found = Vec::new();
    check_directory(root, root, &mut found)?;
    if found.is_empty() {
        return Ok(());
    }
    bail!("not plain English:\n{}\nhint: see CONTRIBUTING.md, Code style", found.join("\n"))
}

fn check_directory(root: &Path, directory: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if entry.file_type()?.is_dir() {
            if !is_hidden && name != "target" {
                check_directory(root, &path, found)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let Some(kind @ ("rs" | MARKDOWN)) = extension else { continue };
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let place = path.strip_prefix(root).unwrap_or(&path).display();
        found.extend(slips(&text, kind == MARKDOWN).iter().map(|slip| format!("{place}:{slip}")));
    }
    Ok(())
}

/// The slips of a text, each as `LINE: what`.
fn slips(text: &str, is_page: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let prose = if is_page { Some(line) } else { comment(line) };
        let Some(prose) = prose.map(without_code) else { continue };
        let is_header = !is_page && line.starts_with("//!");
        if is_header && (prose.trim_end().ends_with('?') || prose.contains("? ")) {
            found.push(format!("{number}: the header is a question: state what the module does"));
        }
        let phrases = PHRASES.into_iter().filter(|phrase| contains_words(&prose, phrase));
        found.extend(phrases.map(|phrase| format!("{number}: archaic: {phrase:?}")));
    }
    found
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//")
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Whether a text contains these words, in any case, not as a part of other words.
fn contains_words(text: &str, words: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(words).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + words.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_in_comments_only() {
        let question = "//! How is a file read again? In little time.\n";
        assert_eq!(slips(question, false).len(), 1);
        let archaic = "fn a() {\n    // It grows BY AND by, and begins anew.\n}\n";
        assert_eq!(slips(archaic, false), ["2: archaic: \"anew\"", "2: archaic: \"by and by\""]);
        assert_eq!(slips("| it begins anew | `anew` |", true).len(), 1);
        for fine in [
            "//! `GET /v1/events?service=web`, and `what?` in code",
            "let anew = \"by and by?\";",
            "/// A comment may ask: why?",
            "// renew, manewver",
        ] {
            assert_eq!(slips(fine, false), [""; 0], "{fine}");
        }
    }

    #[test]
    fn this_workspace_is_in_plain_english() {
        check(crate::workspace::root()).unwrap();
    }
}
