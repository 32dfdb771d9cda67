//! The client: one request over the Unix socket, on one of the [routes], and its answer.

use std::{io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinHandle};

use super::{
    route::{Answer, Body, NoQuery, Nothing, Query, Route},
    routes,
    types::{ApiError, ErrorKind, EventQuery, Save},
};

mod events;

pub use events::EventStream;

/// How long an answer may take, and each further part of it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("api socket {socket}: no daemon listens on it")]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The socket may not be used.
    #[error("api socket {socket}: permission denied, expected its owner or a member of its group")]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// The daemon refused or failed.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The connection broke, or the answer is not understood.
    #[error("api socket {socket}: {reason}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Client {
    /// A client of the daemon behind a socket; it connects for each request.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks on a route: with the names in its path, a query and a body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call<const NAMES: usize, Q: Query, B: Body, A: Answer>(
        &self,
        route: &Route<NAMES, Q, B, A>,
        names: [&str; NAMES],
        query: &Q,
        body: &B::Value,
    ) -> Result<A::Read, ClientError> {
        let (status, mut answer, connection) = self.exchange(route, names, query, body).await?;
        let answer = whole(&mut answer).await.map_err(|e| self.broken(e))?;
        connection.abort();
        if !status.is_success() {
            return Err(refused(status, &answer).into());
        }
        A::read(&answer).map_err(|e| self.broken(not_understood("answer", &e)))
    }

    /// Asks on a route that has neither query nor body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read<const NAMES: usize, A: Answer>(
        &self,
        route: &Route<NAMES, NoQuery, Nothing, A>,
        names: [&str; NAMES],
    ) -> Result<A::Read, ClientError> {
        self.call(route, names, &NoQuery {}, &()).await
    }

    /// Asks for a change; with `save` it is also written to the configuration file.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change<const NAMES: usize, B: Body, A: Answer>(
        &self,
        route: &Route<NAMES, Save, B, A>,
        names: [&str; NAMES],
        request: &B::Value,
        save: bool,
    ) -> Result<A::Read, ClientError> {
        self.call(route, names, &Save { save }, request).await
    }

    /// Events from now on, of one service or of all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, service: Option<&str>) -> Result<EventStream, ClientError> {
        let query = EventQuery { service: service.map(ToOwned::to_owned) };
        let (status, mut body, connection) =
            self.exchange(&routes::EVENTS, [], &query, &()).await?;
        if status.is_success() {
            return Ok(EventStream::new(self.clone(), connection, body));
        }
        let body = whole(&mut body).await.map_err(|e| self.broken(e))?;
        connection.abort();
        Err(refused(status, &body).into())
    }

    /// Sends a request; yields the status of the answer, its body, and the task that carries it.
    async fn exchange<const NAMES: usize, Q: Query, B: Body, A>(
        &self,
        route: &Route<NAMES, Q, B, A>,
        names: [&str; NAMES],
        query: &Q,
        body: &B::Value,
    ) -> Result<(StatusCode, Incoming, JoinHandle<hyper::Result<()>>), ClientError> {
        let body = B::write(body).map_err(|e| self.broken(e))?;
        let mut request = Request::builder()
            .method(&route.method)
            .uri(route.target(names, query))
            .header(HOST, "dispatcher");
        if let Some(content_type) = B::CONTENT_TYPE {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| self.broken(e))?;
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            in_time(http1::handshake(stream)).await.map_err(|e| self.broken(e))?;
        let connection = tokio::spawn(connection);
        let answer = in_time(sender.send_request(request)).await.map_err(|e| self.broken(e))?;
        Ok((answer.status(), answer.into_body(), connection))
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|source| {
            let nobody = matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::NotADirectory
            );
            let socket = self.socket.clone();
            if nobody {
                ClientError::NoDaemon { socket, source }
            } else if source.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Denied { socket }
            } else {
                self.broken(source.to_string().to_lowercase())
            }
        })
    }

    fn broken(&self, reason: impl ToString) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

/// All of a body.
async fn whole(body: &mut Incoming) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The time limit is for each part: a long list takes longer.
    while let Some(part) = part(body).await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The next part of a body; none at its end.
async fn part(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    while let Some(frame) = in_time(async { body.frame().await.transpose() }).await? {
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A step of a request, if it does not take too long.
async fn in_time<T>(step: impl Future<Output = hyper::Result<T>>) -> io::Result<T> {
    let late = |_| {
        let reason = format!("no answer within {} s", TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, reason)
    };
    let done = tokio::time::timeout(TIMEOUT, step).await.map_err(late)?;
    done.map_err(|e| io::Error::other(format!("the daemon broke the connection: {e}")))
}

/// The error of a bad answer.
fn refused(status: StatusCode, body: &[u8]) -> ApiError {
    let kind = ErrorKind::of_status(status.as_u16());
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) => ApiError { kind, ..error },
        Err(_) => ApiError::new(kind, format!("the daemon answered {status} without a reason")),
    }
}

fn not_understood(what: &str, error: &serde_json::Error) -> String {
    format!("the daemon's {what} is not understood: {error}; is it of another version?")
}
