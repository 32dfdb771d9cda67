//! Events as they happen, as a stream of server-sent events (HTML standard, 9.2).
//!
//! A client that reads too slowly holds up nobody: what it has no room for is kept for a while, then it misses the oldest.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    Asks,
    extract::{Asked, Refusal},
};
use crate::api::{
    Controller, Events,
    types::{Event, EventKind},
};

/// Streams at a time: each has a connection, of which others need some, too.
const STREAMS: usize = 32;
/// A comment is sent where nothing else was for so long: so both sides know that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What streams share.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    free: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Streams {
    /// No stream yet; all end at `shutdown`.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { free: Arc::new(Semaphore::new(STREAMS)), shutdown }
    }
}

/// Query of `GET /v1/events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfService {
    service: Option<String>,
}

/// Answers `GET /v1/events`.
pub(super) async fn events<C: Controller>(
    State(controller): Asks<C>,
    Extension(streams): Extension<Streams>,
    Asked(OfService { service }): Asked<OfService>,
) -> Result<Response, Refusal> {
    let permit = streams.free.try_acquire_owned().map_err(|_| {
        let error = format!("events: {STREAMS} streams are open, expected fewer");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })?;
    let events = controller.events(service).await?;
    let reader = Reader { events, missed: 0, next: None, _permit: permit };
    let told = told(reader, streams.shutdown);
    Ok(Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// One stream's end of the bus.
struct Reader {
    events: Events,
    /// Events that it was too slow for, and has not been told of.
    missed: u64,
    /// The event after these.
    next: Option<Event>,
    _permit: OwnedSemaphorePermit,
}

fn told(
    reader: Reader,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((reader, shutdown), |(mut reader, shutdown)| async move {
        let event = tokio::select! {
            () = shutdown.cancelled() => None,
            event = reader.next() => event,
        }?;
        let said = sse::Event::default().id(event.id.to_string()).event(event.kind.word());
        // Numbers and text: that can be written.
        let said = said.json_data(&event).ok()?;
        Some((Ok(said), (reader, shutdown)))
    })
}

impl Reader {
    /// The next event that is meant; none: there will be no more.
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
