//! Durations on the API: a number of seconds. Requests may also have them as the configuration file does (`"300s"`).

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::OneOfBuilder},
};

use super::schema::text;

/// A duration: `300`, `1.5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds or a duration such as \"300s\"")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
        Ok(Seconds(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
        u64::try_from(seconds)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
            .and_then(|seconds| self.visit_u64(seconds))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
        Duration::try_from_secs_f64(seconds)
            .map(Seconds)
            .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
        humantime::parse_duration(text)
            .map(Seconds)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0));
        let duration = text().pattern(Some(r"^\d{1,6}(ms|s|m|h|d)$")).examples(["300s"]);
        let description = "Seconds, or a duration as the configuration file has it";
        OneOfBuilder::new().item(number).item(duration).description(Some(description)).into()
    }
}

impl ToSchema for Seconds {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_numbers_and_may_be_written_as_in_the_file() {
        let read = |text| serde_json::from_str::<Seconds>(text);
        assert_eq!(read("300").unwrap(), Seconds(Duration::from_secs(300)));
        assert_eq!(read("1.5").unwrap(), Seconds(Duration::from_millis(1500)));
        assert_eq!(read("\"5m\"").unwrap(), Seconds(Duration::from_secs(300)));
        for bad in ["-1", "-0.5", "1e300", "\"soon\"", "true", "null"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&read("\"300s\"").unwrap()).unwrap(), "300");
        assert_eq!(serde_json::to_string(&read("\"1500ms\"").unwrap()).unwrap(), "1.5");
    }
}
