//! What a request says, and how a refusal is answered: always as JSON.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::MAX_BODY_BYTES;
use crate::{
    api::types::ApiError,
    files::{self, NotText},
    serve::Visit,
};

/// Characters of an error that quotes what was sent.
const LONGEST_ERROR: usize = 300;

/// An error with the status it is answered with.
#[derive(Debug)]
pub(super) struct Refusal {
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

/// Parts of the path, decoded.
pub(super) struct Names<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(names)| Self(names))
            .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, format!("path: {e}")))
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|e| {
            let cause = std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string);
            Refusal::new(StatusCode::BAD_REQUEST, format!("query: {cause}"))
        })
    }
}

/// The body as JSON; an empty one is an object without fields.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Text(text) = Text::from_request(request, state).await?;
        let read = move || match text.trim() {
            "" => serde_json::from_str("{}"),
            json => serde_json::from_str(json),
        };
        // A large one is not read on a thread that others wait for.
        let read = tokio::task::spawn_blocking(read).await.map_err(|e| {
            Refusal::from(ApiError::failed(format!("body: reading it was cut short: {e}")))
        })?;
        read.map(Self).map_err(|e| {
            let status = match e.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                serde_json::error::Category::Eof
                | serde_json::error::Category::Io
                | serde_json::error::Category::Syntax => StatusCode::BAD_REQUEST,
            };
            let what: String = e.to_string().chars().take(LONGEST_ERROR).collect();
            Refusal::new(status, format!("body: {what}"))
        })
    }
}

/// How long a body may take to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyPatience(pub(super) Duration);

/// The body as text.
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let patience = request.extensions().get().map_or(Duration::MAX, |BodyPatience(p)| *p);
        let visit = request.extensions().get::<Arc<Visit>>().cloned();
        // While it sends, a client can give way to others.
        visit.iter().for_each(|visit| visit.wait());
        let bytes = tokio::time::timeout(patience, Bytes::from_request(request, state)).await;
        visit.iter().for_each(|visit| visit.work());
        let bytes = bytes
            .map_err(|_| {
                let late = format!("body: has not come within {} s", patience.as_secs_f32());
                Refusal::new(StatusCode::REQUEST_TIMEOUT, late)
            })?
            .map_err(|e| match e.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("body: is longer than {MAX_BODY_BYTES} bytes"),
                ),
                status => Refusal::new(status, format!("body: {}", e.body_text())),
            })?;
        files::text(bytes.into()).map(Self).map_err(|NotText { line, column, message, hint }| {
            let mut refusal =
                Refusal::new(StatusCode::BAD_REQUEST, format!("body: {line}:{column}: {message}"));
            refusal.error.hint = Some(hint.to_owned());
            refusal
        })
    }
}
