//! A stream of events, as the daemon sends them (server-sent events, HTML standard, 9.2).

use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::{Client, ClientError, not_understood, part};
use crate::api::types::Event;

/// Events as they arrive. The connection ends when this is dropped.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    connection: JoinHandle<hyper::Result<()>>,
    body: Incoming,
    /// Received bytes that are not yet a whole line.
    rest: Vec<u8>,
    /// Lines of data of the event that is being received.
    data: String,
}

impl EventStream {
    pub(super) fn new(
        client: Client,
        connection: JoinHandle<hyper::Result<()>>,
        body: Incoming,
    ) -> Self {
        Self { client, connection, body, rest: Vec::new(), data: String::new() }
    }

    /// The next event; none: the daemon has ended the stream.
    ///
    /// # Errors
    /// See [`ClientError`]; also if the daemon is silent for too long.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(data) = self.line(line.trim_end_matches(['\r', '\n'])) {
                    let event = serde_json::from_str(&data)
                        .map_err(|e| self.client.broken(not_understood("event", &e)))?;
                    return Ok(Some(event));
                }
            }
            let part = part(&mut self.body).await.map_err(|e| self.client.broken(e))?;
            let Some(part) = part else { return Ok(None) };
            self.rest.extend_from_slice(&part);
        }
    }

    /// Reads a line; yields an event's data at its end. Skips comments and fields other than data.
    fn line(&mut self, line: &str) -> Option<String> {
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            return None;
        }
        (line.is_empty() && !self.data.is_empty()).then(|| std::mem::take(&mut self.data))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
