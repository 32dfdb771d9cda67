//! Values of settings in requests and answers ([`Stated`]), and how a request's value is read from JSON and from the command
//! line ([`Said`]).

use std::{
    fmt::{self, Debug},
    net::IpAddr,
    str::FromStr,
    time::Duration,
};

use clap::builder::ValueParser;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{
    schema::{Named, named, or_null, plain},
    value::OrNone,
};
use crate::values::{Choice, Mac, Seconds, report_timeout::UNLIMITED, schema::IpAddress};

/// A value that requests state and answers show.
pub trait Stated {
    /// As a request states it.
    type Said;
    /// As an answer shows it.
    type Shown;

    /// Changes it to the value of a request.
    fn set(&mut self, said: &Self::Said);

    /// As an answer shows it.
    fn shown(&self) -> Self::Shown;

    /// What an answer shows, as text.
    fn shown_text(shown: &Self::Shown) -> String;

    /// The schema of its value in requests and answers; adds the schemas that have names.
    fn schema(named: &mut Named) -> RefOr<Schema>;
}

/// A `T` in a request.
pub type SaidOf<T> = <T as Stated>::Said;
/// A `T` in an answer.
pub type ShownOf<T> = <T as Stated>::Shown;

/// The value of a setting in a request, as JSON or typed on the command line.
pub trait Said:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What usage calls the value.
    const NAMES: &'static [&'static str];

    /// Reads what is typed.
    fn parser() -> ValueParser;

    /// Reads JSON; `null` means that the request does not have the setting.
    ///
    /// # Errors
    /// As the deserializer.
    fn from_json<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        Option::deserialize(d)
    }
}

/// The value in a request of a setting that may be none.
pub trait Nullable: Said + FromStr<Err: fmt::Display> {
    /// None, as it is typed.
    const NONE: &'static str;

    /// Reads JSON: a value, or `null` for none.
    ///
    /// # Errors
    /// As the deserializer.
    fn or_null<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        Option::deserialize(d)
    }
}

/// Reads JSON, for serde's `deserialize_with`.
pub(crate) fn from_json<'de, T: Said, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::from_json(d)
}

/// Reads what is typed for a `T`.
pub(crate) fn parser<T: Stated<Said: Said>>() -> ValueParser {
    T::Said::parser()
}

/// What usage calls the value of a `T`.
pub(crate) const fn names<T: Stated<Said: Said>>() -> &'static [&'static str] {
    T::Said::NAMES
}

/// Reads what is typed by [`FromStr`].
pub(crate) fn typed<T: Said + FromStr<Err: fmt::Display>>() -> ValueParser {
    ValueParser::new(|text: &str| text.parse::<T>().map_err(|error| error.to_string()))
}

/// Types that requests state and answers show as they are, by the function that yields their schema.
macro_rules! as_is {
    ($($schema:path: $($type:ty),+;)+) => {$($(
        impl $crate::settings::Stated for $type {
            type Said = Self;
            type Shown = Self;

            fn set(&mut self, said: &Self) {
                self.clone_from(said);
            }

            fn shown(&self) -> Self {
                self.clone()
            }

            fn shown_text(shown: &Self) -> String {
                $crate::settings::value::Value::text(shown)
            }

            fn schema(
                named: &mut $crate::settings::schema::Named,
            ) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $schema(named)
            }
        }
    )+)+};
}

pub(crate) use as_is;

as_is! {
    plain::<bool>: bool;
    plain::<u8>: u8;
    plain::<u16>: u16;
    plain::<u32>: u32;
    plain::<u64>: u64;
    plain::<f64>: f64;
    plain::<String>: String;
    plain::<Vec<u16>>: Vec<u16>;
    named::<IpAddress>: IpAddr;
    named::<Mac>: Mac;
}

/// Types that clap has a parser for.
macro_rules! known_to_clap {
    ($($names:expr => $($type:ty),+;)+) => {$($(
        impl Said for $type {
            const NAMES: &'static [&'static str] = $names;

            fn parser() -> ValueParser {
                clap::value_parser!($type).into()
            }
        }
    )+)+};
}

known_to_clap! {
    &["true|false"] => bool;
    &["N"] => u8, u16, u32, u64;
    &["ADDRESS"] => IpAddr;
    &["TEXT"] => String;
}

/// JSON has only finite numbers: it would write others as `null`, which means that the request does not have the setting.
impl Said for f64 {
    const NAMES: &'static [&'static str] = &["N"];

    fn parser() -> ValueParser {
        ValueParser::new(|text: &str| match text.parse::<Self>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) | Err(_) => Err("expected a number"),
        })
    }
}

impl<T: Choice + ToSchema> Stated for T {
    type Said = Self;
    type Shown = Self;

    fn set(&mut self, said: &Self) {
        *self = *said;
    }

    fn shown(&self) -> Self {
        *self
    }

    fn shown_text(shown: &Self) -> String {
        shown.word().to_owned()
    }

    fn schema(schemas: &mut Named) -> RefOr<Schema> {
        named::<T>(schemas)
    }
}

impl<T> Said for T
where
    T: Choice + clap::ValueEnum + Debug + Serialize + DeserializeOwned + Send + Sync,
{
    const NAMES: &'static [&'static str] = &["WORD"];

    fn parser() -> ValueParser {
        clap::builder::EnumValueParser::<T>::new().into()
    }
}

impl<T> Stated for Option<T>
where
    T: Stated<Said: Clone> + From<<T as Stated>::Said> + OrNone,
{
    type Said = Option<T::Said>;
    type Shown = Option<T::Shown>;

    fn set(&mut self, said: &Self::Said) {
        *self = said.clone().map(T::from);
    }

    fn shown(&self) -> Self::Shown {
        self.as_ref().map(Stated::shown)
    }

    fn shown_text(shown: &Self::Shown) -> String {
        shown.as_ref().map_or_else(|| <T as OrNone>::NONE.to_owned(), T::shown_text)
    }

    fn schema(named: &mut Named) -> RefOr<Schema> {
        or_null(T::schema(named))
    }
}

impl<T: Nullable> Said for Option<T> {
    const NAMES: &'static [&'static str] = T::NAMES;

    fn parser() -> ValueParser {
        ValueParser::new(|text: &str| match text {
            none if none == T::NONE => Ok(None),
            text => text.parse::<T>().map(Some).map_err(|error| error.to_string()),
        })
    }

    fn from_json<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        T::or_null(d).map(Some)
    }
}

impl Stated for Duration {
    type Said = Seconds;
    type Shown = Seconds;

    fn set(&mut self, said: &Seconds) {
        *self = said.0;
    }

    fn shown(&self) -> Seconds {
        Seconds(*self)
    }

    fn shown_text(shown: &Seconds) -> String {
        humantime::format_duration(shown.0).to_string()
    }

    fn schema(schemas: &mut Named) -> RefOr<Schema> {
        named::<Seconds>(schemas)
    }
}

impl Said for Seconds {
    const NAMES: &'static [&'static str] = &["TIME"];

    fn parser() -> ValueParser {
        typed::<Self>()
    }
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = humantime::parse_duration(text);
        parsed.map(Self).map_err(|_| "expected a duration such as 300s or 5m")
    }
}

impl Nullable for Seconds {
    const NONE: &'static str = UNLIMITED;
}

impl Said for Mac {
    const NAMES: &'static [&'static str] = &["MAC"];

    fn parser() -> ValueParser {
        typed::<Self>()
    }
}

impl Nullable for Mac {
    const NONE: &'static str = "auto";

    fn or_null<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        match Option::<String>::deserialize(d)?.as_deref() {
            None | Some(<Self as Nullable>::NONE) => Ok(None),
            Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}

impl Said for Vec<u16> {
    const NAMES: &'static [&'static str] = &["PORTS"];

    fn parser() -> ValueParser {
        ValueParser::new(ports)
    }
}

/// Ports with commas between, or `none`.
fn ports(text: &str) -> Result<Vec<u16>, &'static str> {
    match text {
        "none" => Ok(Vec::new()),
        text => text
            .split(',')
            .map(|port| port.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_: std::num::ParseIntError| "expected ports such as 80,443, or none"),
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::PatchBackend;

    #[test]
    fn a_patch_tells_absent_from_null() {
        let read = |text| serde_json::from_str::<PatchBackend>(text);
        assert_eq!(read("{}").unwrap(), PatchBackend::default());
        assert_eq!(read(r#"{"mac": null}"#).unwrap().mac, Some(None));
        assert_eq!(read(r#"{"mac": "auto"}"#).unwrap().mac, Some(None));
        let mac = "02:00:00:00:00:01".parse().unwrap();
        assert_eq!(read(r#"{"mac": "02:00:00:00:00:01"}"#).unwrap().mac, Some(Some(mac)));
        assert!(read(r#"{"mac": "x"}"#).is_err() && read(r#"{"wieght": 1}"#).is_err());
        let patch = PatchBackend { mac: Some(None), weight: Some(3), ..Default::default() };
        assert_eq!(read(&serde_json::to_string(&patch).unwrap()).unwrap(), patch);
    }
}
