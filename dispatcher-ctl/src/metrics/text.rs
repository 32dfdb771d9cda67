//! The text format of Prometheus, version 0.0.4: a head for each family, then a line for each value.

use std::fmt::Write as _;

use super::families::{Family, Kind, Reading, Value};
use crate::api::types::ResponseSeconds;

/// Its content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// From here on not every whole number is an `f64`.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Appends a family's head.
pub(super) fn head(text: &mut String, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    for part in ["# HELP ", family.name, " "] {
        text.push_str(part);
    }
    escaped(text, family.help, false);
    for part in ["\n# TYPE ", family.name, " ", kind, "\n"] {
        text.push_str(part);
    }
}

/// Appends the lines of a reading.
pub(super) fn reading(text: &mut String, family: &Family, reading: &Reading<'_>) {
    match reading.value {
        Value::Number(value) => {
            line(text, family, "", reading, None);
            number(text, value);
        }
        Value::Histogram(seconds) => histogram(text, family, reading, seconds),
    }
}

fn histogram(text: &mut String, family: &Family, reading: &Reading<'_>, seconds: &ResponseSeconds) {
    for bucket in &seconds.buckets {
        line(text, family, "_bucket", reading, Some(bucket.le));
        number(text, bucket.count as f64);
    }
    line(text, family, "_bucket", reading, Some(f64::INFINITY));
    number(text, seconds.count as f64);
    line(text, family, "_sum", reading, None);
    number(text, seconds.sum);
    line(text, family, "_count", reading, None);
    number(text, seconds.count as f64);
}

/// Appends a line up to its value. `bound`: the upper bound of a histogram's bucket, its last label.
fn line(
    text: &mut String,
    family: &Family,
    postfix: &str,
    reading: &Reading<'_>,
    bound: Option<f64>,
) {
    text.push_str(family.name);
    text.push_str(postfix);
    let mut separator = "{";
    for (name, value) in family.labels.iter().zip(reading.labels) {
        for part in [separator, name, "=\""] {
            text.push_str(part);
        }
        escaped(text, value, true);
        text.push('"');
        separator = ",";
    }
    if let Some(bound) = bound {
        text.push_str(separator);
        // Text takes whatever is written to it.
        let _ = match bound.is_finite() {
            true => write!(text, "le=\"{bound}\""),
            false => write!(text, "le=\"+Inf\""),
        };
    }
    if bound.is_some() || !family.labels.is_empty() {
        text.push('}');
    }
    text.push(' ');
}

/// Appends a value, which ends its line.
fn number(text: &mut String, value: f64) {
    // Nearly all are whole, and those are much sooner written as such.
    let _ = match value.fract() == 0.0 && value.abs() < WHOLE {
        true => writeln!(text, "{}", value as i64),
        false => writeln!(text, "{value}"),
    };
}

/// Appends what may hold characters that mean something to the format; a quote does within quotes.
fn escaped(text: &mut String, value: &str, is_quoted: bool) {
    let means = |c: char| matches!(c, '\\' | '\n') || is_quoted && c == '"';
    let mut rest = value;
    while let Some((plain, c)) = rest.find(means).and_then(|at| rest.split_at_checked(at)) {
        text.push_str(plain);
        text.push_str(match c.as_bytes() {
            [b'\n', ..] => "\\n",
            [b'"', ..] => "\\\"",
            _ => "\\\\",
        });
        rest = &c[1..];
    }
    text.push_str(rest);
}
