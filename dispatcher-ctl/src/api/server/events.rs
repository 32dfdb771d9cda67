//! A stream of server-sent events (HTML standard, 9.2), as they happen.
//!
//! A client that reads too slowly does not delay others: the server keeps events for it for a while, then drops the oldest.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

use super::extract::Refusal;
use crate::api::{
    Controller, Events,
    types::{Event, EventKind},
};

/// Streams at a time: each holds a connection, and other requests need connections, too.
const STREAMS: usize = 32;
/// A comment is sent after this time without an event: so both sides learn that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What all streams share.
#[derive(Clone, Debug)]
pub(in crate::api) struct Streams {
    free: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Streams {
    /// No stream is open; all end at `shutdown`.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { free: Arc::new(Semaphore::new(STREAMS)), shutdown }
    }
}

/// Answers `GET /v1/events`.
pub(in crate::api) async fn answer(
    controller: &dyn Controller,
    streams: Streams,
    service: Option<String>,
) -> Result<Response, Refusal> {
    let Streams { free, shutdown } = streams;
    let permit = free.try_acquire_owned().map_err(|_| {
        let error = format!("events: {STREAMS} streams are open, expected fewer");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })?;
    let events = controller.events(service).await?;
    let reader = Reader { events, missed: 0, next: None, _permit: permit };
    let events = Sse::new(stream(reader, shutdown));
    Ok(events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The receiving end of one stream.
struct Reader {
    events: Events,
    /// Events that it missed and has not reported.
    missed: u64,
    /// The event that follows them.
    next: Option<Event>,
    _permit: OwnedSemaphorePermit,
}

fn stream(
    reader: Reader,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    futures_util::stream::unfold((reader, shutdown), |(mut reader, shutdown)| async move {
        let event = tokio::select! {
            () = shutdown.cancelled() => None,
            event = reader.next() => event,
        }?;
        let sent = sse::Event::default().id(event.id.to_string()).event(event.kind.word());
        // Numbers and text are always written as JSON.
        let sent = sent.json_data(&event).ok()?;
        Some((Ok(sent), (reader, shutdown)))
    })
}

impl Reader {
    /// The next event of the stream's service; none: the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.next.take() {
                return Some(event);
            }
            let event = match self.events.receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    self.missed += missed;
                    continue;
                }
                Err(RecvError::Closed) => return None,
            };
            let missed = std::mem::take(&mut self.missed);
            let (before, time) = (event.id.saturating_sub(1), event.time);
            let of = self.events.service.as_deref();
            if of.is_none() || event.kind.service() == of {
                self.next = Some(event);
            }
            if missed > 0 {
                return Some(Event {
                    id: before,
                    time,
                    kind: EventKind::Missed { events: missed },
                });
            }
        }
    }
}
