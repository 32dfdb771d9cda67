//! `plan` and `reload`: one line per change.

use super::{Style, line};
use crate::api::types::{Action, Plan};

/// The lines.
#[must_use]
pub fn table(plan: &Plan, style: &Style) -> String {
    let mut text: String = plan
        .changes
        .iter()
        .map(|change| {
            let (sign, color) = match change.action {
                Action::Add => ('+', 32),
                Action::Change => ('~', 33),
                Action::Remove => ('-', 31),
            };
            let words = line(format!("{sign} {}  {}", change.object, change.detail).trim_end());
            if style.color {
                format!("\u{1b}[{color}m{}\u{1b}[0m\n", words.trim_end())
            } else {
                words
            }
        })
        .collect();
    if plan.changes.is_empty() {
        text += "nothing to change\n";
    }
    for note in &plan.notes {
        text += &line(format!("note: {note}"));
    }
    text
}
