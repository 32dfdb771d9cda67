//! Sends a long list of connections page by page, so that memory holds one page.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::api::{
    Controller,
    types::{ApiError, ConnectionQuery, Connections},
};

/// Connections of a page, which are some megabytes.
const PAGE: usize = 10_000;

/// Answers a query for connections. An error after the first page breaks the answer off.
pub(in crate::api) async fn answer(
    controller: Arc<dyn Controller>,
    query: ConnectionQuery,
) -> Result<Response, ApiError> {
    let mut pages =
        Pages { controller, left: query.limit(), query, is_first: true, is_over: false };
    let first = pages.read().await?;
    if pages.is_over {
        return Ok(Json(first).into_response());
    }
    let texts = stream::try_unfold((pages, Some(first)), |(mut pages, page)| async move {
        let page = match page {
            Some(page) => page,
            None if pages.is_over => return Ok(None),
            None => pages.read().await.map_err(|error| error.error)?,
        };
        let text = pages.text(&page).map_err(|error| error.to_string())?;
        Ok::<_, String>(Some((Bytes::from(text), (pages, None))))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(texts)).into_response())
}

/// A list that is being sent.
struct Pages {
    controller: Arc<dyn Controller>,
    query: ConnectionQuery,
    /// Connections that may still be sent.
    left: usize,
    is_first: bool,
    is_over: bool,
}

impl Pages {
    /// The next page.
    async fn read(&mut self) -> Result<Connections, ApiError> {
        let limit = Some(self.left.min(PAGE));
        let page =
            self.controller.connections(ConnectionQuery { limit, ..self.query.clone() }).await?;
        self.left = self.left.saturating_sub(page.connections.len());
        match page.next {
            Some(next) if self.left > 0 => self.query.from = next,
            _ => self.is_over = true,
        }
        Ok(page)
    }

    /// The page's part of the whole, which is [`Connections`] as JSON.
    fn text(&mut self, page: &Connections) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(page.connections.len() * 300);
        for connection in &page.connections {
            text.extend_from_slice(if self.is_first { b"{\"connections\":[" } else { b"," });
            self.is_first = false;
            serde_json::to_writer(&mut text, connection)?;
        }
        if self.is_over {
            text.extend_from_slice(format!("],\"truncated\":{}}}", page.truncated).as_bytes());
        }
        Ok(text)
    }
}
