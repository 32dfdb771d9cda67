//! Whether `configuration.md` names every key that the configuration knows, those of later versions included.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Compares the page with the lists of keys.
///
/// # Errors
/// When the page lacks a key, or the lists are not found.
pub(super) fn check() -> Result<()> {
    let source = read("dispatcher-ctl/src/config/keys.rs")?;
    let page = read("docs/configuration.md")?;
    let keys = keys(&source);
    if keys.is_empty() {
        bail!("keys.rs lists no keys, expected `known: &[...]`");
    }
    let names =
        |key: &str| page.contains(&format!("`{key}`")) || page.contains(&format!("[{key}]"));
    let missing: Vec<&str> = keys.into_iter().filter(|key| !names(key)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("docs/configuration.md lacks {}", missing.join(", "))
    }
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(file)).with_context(|| file.to_owned())
}

/// The words of all lists `known: &[...]` and `later: &[...]`.
fn keys(source: &str) -> Vec<&str> {
    let declared = source.split("#[cfg(test)]").next().unwrap_or(source);
    let lists = ["known: &[", "later: &["];
    let starts = lists.iter().flat_map(|list| declared.split(list).skip(1));
    let words = starts.filter_map(|rest| rest.split(']').next());
    words.flat_map(|list| list.split('"').skip(1).step_by(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_key() {
        check().unwrap();
    }

    #[test]
    fn the_words_of_all_lists_are_found() {
        let source =
            r#"Keys { known: &["a", "b"], later: &[] } Keys { known: &[], later: &["c"] }"#;
        assert_eq!(keys(source), ["a", "b", "c"]);
    }
}
