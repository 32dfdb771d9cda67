//! The help of the options that are settings.

use super::{
    bounds::short,
    row::{Row, Table},
};

/// An object as most are, whose values are the defaults that help and documentation name.
pub(crate) trait Typical: Table {
    /// This object.
    fn typical() -> Self;
}

/// The help of the setting that has this key: one paragraph, or with `is_long` all; `is_new`: also its default.
pub(crate) fn help<T: Typical>(key: &str, is_new: bool, is_long: bool) -> String {
    let Some(row) = T::ROWS.iter().find(|row| row.key == key) else { return String::new() };
    let mut text = String::new();
    for paragraph in
        row.doc.split(|line| line.is_empty()).take(if is_long { usize::MAX } else { 1 })
    {
        let lines: Vec<_> = paragraph.iter().map(|line| line.trim()).collect();
        let gap = if text.is_empty() { "" } else { "\n\n" };
        text += &format!("{gap}{}", lines.join(" "));
    }
    if !is_long {
        text.truncate(text.trim_end_matches('.').len());
    }
    let mut gap = if is_long { "\n\n" } else { " " };
    for end in ends(row, is_new) {
        text += &format!("{gap}[{end}]");
        gap = " ";
    }
    text.retain(|c| c != '`');
    text
}

/// The default of a setting and its valid values.
fn ends<T: Typical>(row: &'static Row<T>, is_new: bool) -> impl Iterator<Item = String> {
    let has_default = is_new && T::ROWS[T::PRESET..].iter().any(|other| other.key == row.key);
    let default = has_default.then(|| row.default(&T::typical()).replace(['"', '`'], ""));
    let valid = row.valid(short).replace(['"', '`'], "");
    let default = default.map(|default| format!("default: {default}"));
    default.into_iter().chain((!valid.is_empty()).then_some(valid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{BackendConfig, Manager, ServiceSettings};

    #[test]
    fn help_names_default_and_bounds() {
        let service = |key, is_new| {
            let help = help::<ServiceSettings>(key, is_new, false);
            help[help.find(" [").unwrap_or(help.len())..].to_owned()
        };
        assert_eq!(service("syn_timeout", true), " [default: 30s] [more than 0s and at most 4h]");
        assert_eq!(service("syn_timeout", false), " [more than 0s and at most 4h]");
        assert_eq!(service("proportions", true), " [default: the manager's]");
        assert_eq!(service("port", true), " [0..=65535]");
        let weight = help::<BackendConfig>("weight", true, true);
        assert!(
            weight.ends_with("runtime.\n\n[default: half of weight_bound] [0..=weight_bound]"),
            "{weight}"
        );
        assert!(help::<Manager>("interval", false, false).ends_with(" [100ms to 1h]"));
    }
}
