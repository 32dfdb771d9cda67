//! Names and texts of users as messages show them.

use std::borrow::Cow;

/// A name as messages show it: in quotes if it is not valid.
#[must_use]
pub fn shown(name: &str) -> String {
    if is_name(name) { name.to_owned() } else { quoted(name) }
}

/// A text in quotes, shortened.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// A text as messages show it: shortened.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Whether a service, a backend or a rule may be called so. Clients remove `.` and `..` from an API path.
pub(crate) fn is_name(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(is_part)
        && !matches!(name, "." | "..")
}

/// Longest name of a service, a backend or a rule.
pub(crate) const LONGEST_NAME: usize = 63;
