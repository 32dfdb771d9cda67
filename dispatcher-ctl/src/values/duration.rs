//! Durations as the configuration writes them (`300s`, `1500ms`).

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer};

/// A duration as text: whole seconds as `300s`, anything else in parts.
#[must_use]
pub fn text(value: Duration) -> String {
    match value.subsec_nanos() {
        0 => format!("{}s", value.as_secs()),
        _ => humantime::format_duration(value).to_string().replace(' ', ""),
    }
}

/// Writes a duration.
///
/// # Errors
/// As the serializer.
pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*value))
}

/// Reads a duration.
///
/// # Errors
/// If the text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}
