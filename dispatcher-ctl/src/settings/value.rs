//! How a value of each type is read from the file, written to it and shown in a plan. A new type of value gets its
//! [`Value`] here, or in the file of its type, and where the API has it, also its [`Stated`](super::Stated).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use toml_edit::{Array, Value as Toml};

use super::{bounds::large, section::Section, spec::Spec};
use crate::values::{
    Choice, ClientRange, Day, Hex, Mac, PortRange, Statuses, TimeRange, Tos, duration,
    report_timeout,
};

/// A value in the configuration file.
pub(crate) trait Value: Clone + PartialEq + 'static {
    /// What documentation calls the type.
    fn kind() -> String;

    /// Reads the value of a key, if it is there; reports what is wrong with it.
    fn read(s: &mut Section<'_, '_>, key: &'static str, spec: &Spec) -> Option<Self>;

    /// The value as it is written to the file; none: the key is left out.
    fn written(&self, spec: &Spec) -> Option<Toml>;

    /// The value as a plan shows it.
    fn text(&self) -> String;

    /// The number that has bounds, of a duration in seconds; none: it is no number.
    fn number(&self) -> Option<f64> {
        None
    }
}

/// A value that must be there.
pub(crate) trait Required: Value {
    /// The value to go on with if it could not be read, until the error is reported.
    fn placeholder() -> Self;

    /// What a message expects if it is missing.
    fn needed(spec: &Spec) -> String {
        spec.required.map_or_else(|| spec.expectation(), ToOwned::to_owned)
    }
}

/// A value that may be none.
pub(crate) trait OrNone: Value {
    /// None, as a plan shows it.
    const NONE: &'static str = "none";

    /// Reads the value or none.
    fn read_or_none(
        s: &mut Section<'_, '_>,
        key: &'static str,
        spec: &Spec,
    ) -> Option<Option<Self>> {
        Self::read(s, key, spec).map(Some)
    }

    /// None, as it is written to the file.
    fn none_written() -> Option<Toml> {
        None
    }
}

/// Implements [`Value`] for types: how they are read, written and shown.
macro_rules! values {
    ($(
        $kind:literal: $($type:ty),+ =>
            |$s:ident, $key:ident, $spec:ident| $read:expr, |$value:ident| $written:expr, $text:expr, $number:expr;
    )+) => {
        $($(impl Value for $type {
            fn kind() -> String {
                $kind.to_owned()
            }

            fn read($s: &mut Section<'_, '_>, $key: &'static str, $spec: &Spec) -> Option<Self> {
                $read
            }

            fn written(&self, _spec: &Spec) -> Option<Toml> {
                let $value = self;
                $written
            }

            fn text(&self) -> String {
                let $value = self;
                $text
            }

            fn number(&self) -> Option<f64> {
                let $value = self;
                let _ = $value;
                $number
            }
        })+)+
    };
}

values! {
    "boolean": bool => |s, key, _spec| s.boolean(key), |v| Some((*v).into()), v.to_string(), None;
    "number": f64 => |s, key, _spec| s.number(key), |v| Some((*v).into()), v.to_string(), Some(*v);
    "whole number": u8, u16, u32 =>
        |s, key, spec| s.integer(key, spec),
        |v| Some(i64::from(*v).into()), v.to_string(), Some(f64::from(*v));
    "whole number": u64, usize =>
        |s, key, spec| s.integer(key, spec),
        |v| i64::try_from(*v).ok().map(Toml::from), v.to_string(), Some(large(i64::try_from(*v).ok()));
    "text": String, Statuses, Hex, PortRange, TimeRange, Tos =>
        |s, key, spec| s.parsed(key, spec.expected), |v| Some(v.to_string().into()), v.to_string(), None;
    "address": IpAddr =>
        |s, key, spec| s.parsed(key, spec.expected), |v| Some(v.to_string().into()), v.to_string(), None;
    "address and port": SocketAddr =>
        |s, key, spec| s.parsed(key, spec.expected), |v| Some(v.to_string().into()), v.to_string(), None;
    "MAC address": Mac =>
        |s, key, spec| s.parsed(key, spec.expected), |v| Some(v.to_string().into()), v.to_string(), None;
    "duration": Duration => |s, key, _spec| s.duration(key),
        |v| Some(duration::text(*v).into()), duration::text(*v), Some(v.as_secs_f64());
    "path": PathBuf => |s, key, _spec| s.text(key, "a path", |text| Some(Self::from(text))),
        |v| Some(v.display().to_string().into()), v.display().to_string(), None;
    "array of texts": Vec<String> => |s, key, spec| s.texts(key, spec.expected),
        |v| Some(v.iter().map(String::as_str).collect::<Array>().into()), v.join(" "), None;
    "array of texts": Vec<ClientRange> => |s, key, spec| s.each(key, spec.expected, |text| text.parse().ok()),
        |v| Some(words(v).collect::<Array>().into()), words(v).collect::<Vec<_>>().join(" "), None;
    "array of days": Vec<Day> => |s, key, _spec| s.each(key, &Day::words(), Day::from_word),
        |v| Some(words(v).collect::<Array>().into()), words(v).collect::<Vec<_>>().join(" "), None;
    "array of ports": Vec<u16> => |s, key, spec| s.ports(key, spec.expected),
        |v| Some(v.iter().map(|port| i64::from(*port)).collect::<Array>().into()), format!("{v:?}"), None;
}

/// Each value as text.
fn words<T: ToString>(values: &[T]) -> impl Iterator<Item = String> {
    values.iter().map(ToString::to_string)
}

impl<T: Choice> Value for T {
    fn kind() -> String {
        let words: Vec<_> = T::ALL.iter().map(|value| format!("`\"{}\"`", value.word())).collect();
        words.join(", ")
    }

    fn read(s: &mut Section<'_, '_>, key: &'static str, spec: &Spec) -> Option<Self> {
        s.choice(key, spec.later)
    }

    fn written(&self, _spec: &Spec) -> Option<Toml> {
        Some(self.word().into())
    }

    fn text(&self) -> String {
        self.word().to_owned()
    }
}

impl<T: OrNone> Value for Option<T> {
    fn kind() -> String {
        T::kind()
    }

    fn read(s: &mut Section<'_, '_>, key: &'static str, spec: &Spec) -> Option<Self> {
        T::read_or_none(s, key, spec)
    }

    fn written(&self, spec: &Spec) -> Option<Toml> {
        self.as_ref().map_or_else(T::none_written, |value| value.written(spec))
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(|| T::NONE.to_owned(), Value::text)
    }

    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(Value::number)
    }
}

/// Implements [`Required`].
macro_rules! required {
    ($($type:ty: $placeholder:expr;)+) => {$(
        impl Required for $type {
            fn placeholder() -> Self {
                $placeholder
            }
        }
    )+};
}

required! {
    IpAddr: Self::from([0, 0, 0, 0]);
    u16: 0;
    u32: 0;
    Vec<String>: Self::new();
}

impl<T: Choice> Required for T {
    fn placeholder() -> Self {
        T::ALL[0]
    }

    fn needed(_spec: &Spec) -> String {
        T::words()
    }
}

impl OrNone for u16 {}
impl OrNone for u64 {}
impl OrNone for String {}
impl OrNone for PathBuf {}
impl OrNone for Vec<String> {}
impl OrNone for PortRange {}
impl OrNone for TimeRange {}
impl OrNone for Tos {}

impl OrNone for Mac {
    const NONE: &'static str = "auto";
}

/// How long something counts; none: without end.
impl OrNone for Duration {
    const NONE: &'static str = report_timeout::UNLIMITED;

    fn read_or_none(
        s: &mut Section<'_, '_>,
        key: &'static str,
        _spec: &Spec,
    ) -> Option<Option<Self>> {
        s.text(key, report_timeout::EXPECTED, report_timeout::parse)
    }

    fn none_written() -> Option<Toml> {
        Some(report_timeout::UNLIMITED.into())
    }
}
