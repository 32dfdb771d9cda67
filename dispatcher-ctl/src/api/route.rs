//! What a route is: the types of what goes over it, for server, client and description alike.

use std::{fmt, marker::PhantomData};

use axum::{
    Json as AxumJson,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{
    Deserialize, Serialize,
    de::{self, DeserializeOwned},
};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{schema::Schemas, types::Event};
use crate::values::Object;

/// A method on a path: with `NAMES` names in the path, a query, a body and an answer.
pub struct Route<const NAMES: usize, Q, B, A> {
    pub(super) method: Method,
    /// The path, with each name in braces.
    pub(super) path: &'static str,
    /// Its name for tools.
    pub(super) id: &'static str,
    /// What it does, line by line; the first line is a summary.
    pub(super) text: &'static [&'static str],
    /// Statuses of errors, in addition to those that follow from names, query and body.
    pub(super) errors: &'static [u16],
    pub(super) types: PhantomData<fn(Q, B) -> A>,
}

impl<const NAMES: usize, Q: Query, B, A> Route<NAMES, Q, B, A> {
    /// The path with these names and this query, as a request has it.
    pub(super) fn target(&self, names: [&str; NAMES], query: &Q) -> String {
        let mut names = names.into_iter();
        let mut target = String::new();
        for part in self.path.split_inclusive('/') {
            match part.strip_prefix('{') {
                None => target.push_str(part),
                Some(rest) => {
                    let name = names.next().unwrap_or_default();
                    target.extend(utf8_percent_encode(name, SEGMENT));
                    target.push_str(rest.trim_start_matches(|c| c != '/'));
                }
            }
        }
        match serde_urlencoded::to_string(query) {
            Ok(query) if !query.is_empty() => target + "?" + &query,
            _ => target,
        }
    }
}

impl<const NAMES: usize, Q, B, A> fmt::Debug for Route<NAMES, Q, B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Bytes of a name that stand in a path as they are (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The query of a request.
pub trait Query: Serialize + DeserializeOwned + IntoParams + Send + 'static {}

impl<T: Serialize + DeserializeOwned + IntoParams + Send + 'static> Query for T {}

/// The query of a route that has none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// The body of a request.
pub trait Body: 'static {
    /// Its value.
    type Value: Send + 'static;
    /// Its content type; none: there is no body.
    const CONTENT_TYPE: Option<&'static str>;
    /// The status of the error if it is not text.
    const NOT_TEXT: StatusCode = StatusCode::BAD_REQUEST;

    /// The body as it is sent.
    ///
    /// # Errors
    /// If the value cannot be written as JSON.
    fn write(value: &Self::Value) -> serde_json::Result<Vec<u8>>;

    /// The value of a body that was received.
    ///
    /// # Errors
    /// If it is not JSON of this type.
    fn read(text: String) -> serde_json::Result<Self::Value>;

    /// Its schema.
    fn schema(schemas: &mut Schemas) -> Value;
}

/// The good answer of a route.
pub trait Answer: 'static {
    /// What the server answers with.
    type Given: Send;
    /// What the client reads of it.
    type Read;
    /// Its HTTP status.
    const STATUS: StatusCode = StatusCode::OK;
    /// Its content type; none: there is no body.
    const CONTENT_TYPE: Option<&'static str> = JSON;

    /// The answer as it is sent.
    fn write(given: Self::Given) -> Response;

    /// The value of an answer that was received.
    ///
    /// # Errors
    /// If it is not JSON of this type.
    fn read(body: &[u8]) -> serde_json::Result<Self::Read>;

    /// Its schema.
    fn schema(schemas: &mut Schemas) -> Value;
}

const JSON: Option<&str> = Some("application/json");

/// Reads JSON. The error names the key of a value that is not of its type; that of an unknown key does so anyway.
fn placed<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let message = error.to_string();
        match error.is_data() && path != "." && !message.starts_with("unknown field") {
            true => de::Error::custom(format!("{path}: {message}")),
            false => error,
        }
    })?;
    reader.end().map(|()| value)
}

/// No body, of a request or an answer.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Body for Nothing {
    type Value = ();
    const CONTENT_TYPE: Option<&'static str> = None;

    fn write((): &()) -> serde_json::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn read(_: String) -> serde_json::Result<()> {
        Ok(())
    }

    fn schema(_: &mut Schemas) -> Value {
        Value::Null
    }
}

impl Answer for Nothing {
    type Given = ();
    type Read = ();
    const STATUS: StatusCode = StatusCode::NO_CONTENT;
    const CONTENT_TYPE: Option<&'static str> = None;

    fn write((): ()) -> Response {
        Self::STATUS.into_response()
    }

    fn read(_: &[u8]) -> serde_json::Result<()> {
        Ok(())
    }

    fn schema(_: &mut Schemas) -> Value {
        Value::Null
    }
}

/// JSON of a type; an answer has the status `STATUS`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T, const STATUS: u16 = 200>(PhantomData<T>);

/// JSON of something that was created.
pub type Created<T> = Json<T, 201>;

impl<T: Serialize + DeserializeOwned + ToSchema + Send + 'static> Body for Json<T> {
    type Value = T;
    const CONTENT_TYPE: Option<&'static str> = JSON;

    fn write(value: &T) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(value)
    }

    /// An empty body is an object without fields.
    fn read(text: String) -> serde_json::Result<T> {
        match text.trim() {
            "" => serde_json::from_str("{}"),
            json if json.starts_with('{') => placed(json),
            json => serde_json::from_str(json).map(|Object(value)| value),
        }
    }

    fn schema(schemas: &mut Schemas) -> Value {
        schemas.request::<T>()
    }
}

impl<T, const STATUS: u16> Answer for Json<T, STATUS>
where
    T: Serialize + DeserializeOwned + ToSchema + Send + 'static,
{
    type Given = T;
    type Read = T;
    const STATUS: StatusCode = match STATUS {
        201 => StatusCode::CREATED,
        _ => StatusCode::OK,
    };

    fn write(given: T) -> Response {
        (<Self as Answer>::STATUS, AxumJson(given)).into_response()
    }

    fn read(body: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(body)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        schemas.answer::<T>()
    }
}

/// A JSON array.
#[derive(Clone, Copy, Debug)]
pub struct List<T>(PhantomData<T>);

impl<T: Serialize + DeserializeOwned + ToSchema + Send + 'static> Answer for List<T> {
    type Given = Vec<T>;
    type Read = Vec<T>;

    fn write(given: Vec<T>) -> Response {
        AxumJson(given).into_response()
    }

    fn read(body: &[u8]) -> serde_json::Result<Vec<T>> {
        serde_json::from_slice(body)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        serde_json::json!({ "type": "array", "items": schemas.answer::<T>() })
    }
}

/// JSON that the server writes piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Pages<T>(PhantomData<T>);

impl<T: DeserializeOwned + ToSchema + 'static> Answer for Pages<T> {
    type Given = Response;
    type Read = T;

    fn write(given: Response) -> Response {
        given
    }

    fn read(body: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(body)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        schemas.answer::<T>()
    }
}

/// Server-sent events without end: read by [`EventStream`](super::client::EventStream).
#[derive(Clone, Copy, Debug)]
pub struct Stream;

impl Answer for Stream {
    type Given = Response;
    type Read = ();
    const CONTENT_TYPE: Option<&'static str> = Some("text/event-stream");

    fn write(given: Response) -> Response {
        given
    }

    fn read(_: &[u8]) -> serde_json::Result<()> {
        Ok(())
    }

    fn schema(schemas: &mut Schemas) -> Value {
        schemas.answer::<Event>()
    }
}

/// A configuration as text.
#[derive(Clone, Copy, Debug)]
pub struct Toml;

impl Body for Toml {
    type Value = String;
    const CONTENT_TYPE: Option<&'static str> = Some("application/toml");
    const NOT_TEXT: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

    fn write(value: &String) -> serde_json::Result<Vec<u8>> {
        Ok(value.clone().into_bytes())
    }

    fn read(text: String) -> serde_json::Result<String> {
        Ok(text)
    }

    fn schema(_: &mut Schemas) -> Value {
        serde_json::json!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{routes, types::Save};

    #[test]
    fn names_and_query_are_encoded() {
        let target = routes::PATCH_BACKEND.target(["a/b", "2001:db8::1"], &Save { save: true });
        assert_eq!(target, "/v1/services/a%2Fb/backends/2001%3Adb8%3A%3A1?save=true");
        assert_eq!(routes::STATUS.target([], &NoQuery {}), "/v1/status");
    }
}
