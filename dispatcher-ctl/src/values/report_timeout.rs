//! `report_timeout` as a configuration writes it: a duration, or `unlimited`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

use super::duration;

/// The word for none.
pub const UNLIMITED: &str = "unlimited";
/// What a configuration may say.
pub const EXPECTED: &str = "a duration such as \"30s\", or \"unlimited\"";

/// As text.
#[must_use]
pub fn text(value: Option<Duration>) -> String {
    value.map_or_else(|| UNLIMITED.to_owned(), duration::text)
}

/// From text; none if it is neither.
#[must_use]
pub fn parse(text: &str) -> Option<Option<Duration>> {
    match text {
        UNLIMITED => Some(None),
        text => humantime::parse_duration(text).ok().map(Some),
    }
}

/// Writes it.
///
/// # Errors
/// As the serializer.
pub fn serialize<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&text(*value))
}

/// Reads it.
///
/// # Errors
/// If the text is neither.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(d)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not {EXPECTED}")))
}
