//! Reads the parts of a request. A refusal is answered as JSON.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest as _, FromRequestParts as _, Path, Request},
    http::{StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::error::Category;

use crate::{
    api::{
        route::{Body, Query},
        types::ApiError,
    },
    files::{self, NotText},
    serve::Visit,
};

/// The largest body: a configuration of some 50,000 backends.
pub(super) const MAX_BODY_BYTES: usize = 16 << 20;
/// Characters of an error that quotes what was sent.
const LONGEST_ERROR: usize = 300;

/// An error with the status it is answered with.
#[derive(Debug)]
pub(in crate::api) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    /// An error with a status of its own.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: ApiError::invalid(error) }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let status = StatusCode::from_u16(error.kind.status());
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.error)).into_response()
    }
}

/// The parts of a request: names in the path, query and body.
pub(super) async fn asked<const NAMES: usize, Q: Query, B: Body>(
    request: Request,
    patience: Duration,
) -> Result<([String; NAMES], Q, B::Value), Refusal> {
    let (mut parts, body) = request.into_parts();
    let names = names(&mut parts).await?;
    let query = query(&parts.uri)?;
    let body = match B::CONTENT_TYPE {
        None => B::read(String::new()),
        Some(_) => {
            let text = text(Request::from_parts(parts, body), patience, B::NOT_TEXT).await?;
            // A large one is not read on a thread that others wait for.
            tokio::task::spawn_blocking(|| B::read(text))
                .await
                .map_err(|e| ApiError::failed(format!("body: reading it was interrupted: {e}")))?
        }
    };
    Ok((names, query, body.map_err(unreadable)?))
}

/// The names in the path, decoded.
async fn names<const NAMES: usize>(parts: &mut Parts) -> Result<[String; NAMES], Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, format!("path: {error}"));
    let Path(names) = match NAMES {
        0 => Path(Vec::new()),
        _ => Path::from_request_parts(parts, &()).await.map_err(|e| bad(e.to_string()))?,
    };
    names.try_into().map_err(|_| bad(format!("expected {NAMES} names")))
}

fn query<Q: Query>(uri: &Uri) -> Result<Q, Refusal> {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).map_err(|e| {
        let cause = std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string);
        Refusal::new(StatusCode::BAD_REQUEST, format!("query: {}", plain(cause)))
    })
}

/// The refusal of a body that is not JSON, or not of its type.
fn unreadable(error: serde_json::Error) -> Refusal {
    let status = match error.classify() {
        Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
        Category::Eof | Category::Io | Category::Syntax => StatusCode::BAD_REQUEST,
    };
    let what: String = plain(error.to_string()).chars().take(LONGEST_ERROR).collect();
    Refusal::new(status, format!("body: {what}"))
}

/// A message of a library without the words of its language.
fn plain(message: String) -> String {
    const PLAIN: [(&str, &str); 9] = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("invalid digit found in string", "expected a whole number"),
        ("cannot parse integer from empty string", "expected a whole number"),
        ("number too large to fit in target type", "the number is too large"),
        ("provided string was not `true` or `false`", "expected true or false"),
    ];
    PLAIN.iter().fold(message, |message, (theirs, ours)| message.replace(theirs, ours))
}

/// The body as text. What is not text is refused with `not_text`.
async fn text(
    request: Request,
    patience: Duration,
    not_text: StatusCode,
) -> Result<String, Refusal> {
    let visit = request.extensions().get::<Arc<Visit>>().cloned();
    // While it sends, a client can give way to others.
    visit.iter().for_each(|visit| visit.wait());
    let bytes = tokio::time::timeout(patience, Bytes::from_request(request, &())).await;
    visit.iter().for_each(|visit| visit.work());
    let bytes = bytes
        .map_err(|_| {
            let late = format!("body: has not arrived within {} s", patience.as_secs_f32());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, late)
        })?
        .map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("body: is longer than {MAX_BODY_BYTES} bytes"),
            ),
            status => Refusal::new(status, format!("body: {}", e.body_text())),
        })?;
    files::text(bytes.into()).map_err(|NotText { line, column, message, hint }| {
        let error = format!("body: {line}:{column}: {message}");
        Refusal { status: not_text, error: ApiError::invalid(error).hint(hint) }
    })
}
