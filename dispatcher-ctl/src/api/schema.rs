//! Schemas of what `derive(ToSchema)` does not know: addresses, durations, and words of counters.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type,
        schema::{AnyOfBuilder, OneOfBuilder},
    },
};

use super::types::Seconds;
use crate::model::Mac;

/// The schema of an [`IpAddr`](std::net::IpAddr): `build.rs` names it for fields of that type.
#[derive(Debug)]
pub(crate) struct IpAddress;

impl PartialSchema for IpAddress {
    fn schema() -> RefOr<Schema> {
        let text = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
        AnyOfBuilder::new().item(text(KnownFormat::Ipv4)).item(text(KnownFormat::Ipv6)).into()
    }
}

impl ToSchema for IpAddress {}

impl PartialSchema for Mac {
    fn schema() -> RefOr<Schema> {
        text()
            .pattern(Some("^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$"))
            .examples(["02:00:00:00:00:01"])
            .into()
    }
}

impl ToSchema for Mac {}

impl PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0));
        let duration = text().pattern(Some(r"^\d{1,6}(ms|s|m|h|d)$")).examples(["300s"]);
        let description = "Seconds, or a duration as the configuration file has it";
        OneOfBuilder::new().item(number).item(duration).description(Some(description)).into()
    }
}

impl ToSchema for Seconds {}

/// The verdicts of [`ReasonCount`](super::types::ReasonCount).
pub(super) fn verdict() -> Object {
    words(["tx", "redirect", "pass", "drop"])
}

/// The causes of [`RefusedCount`](super::types::RefusedCount).
pub(super) fn cause() -> Object {
    words(["full", "unsupported", "no_receiver", "down", "too_big", "other"])
}

/// The states of a [`Connection`](super::types::Connection).
pub(super) fn connection_state() -> Object {
    words(["half_open", "established", "closing"])
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Object {
    text().enum_values(Some(words)).build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
