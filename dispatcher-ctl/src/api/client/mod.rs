//! The client: one request over the Unix socket, one answer.

use std::{io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinHandle};

use super::types::{
    AdvisorReport, ApiError, AttachInterface, Backend, ConnectionQuery, Connections, ErrorKind,
    Interface, ManagerReport, PatchBackend, PatchManager, PatchService, Plan, PutBackend,
    PutService, Save, Service, Status,
};

mod events;

pub use events::EventStream;

/// How long an answer may take, and each further part of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a path's part that are written as they are (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("api socket {socket}: no daemon listens on it")]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
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
    /// The exchange broke.
    #[error("api socket {socket}: {reason}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How.
        reason: String,
    },
}

impl Client {
    /// A client of the daemon behind a socket; connects with each request.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Everything.
    ///
    /// # Errors
    /// As [`ClientError`] says; so do all others.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.read("/v1/status").await
    }

    /// A service with its backends.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn service(&self, service: &str) -> Result<Service, ClientError> {
        self.read(&service_path(service)).await
    }

    /// All services.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn services(&self) -> Result<Vec<Service>, ClientError> {
        self.read("/v1/services").await
    }

    /// What the manager made of what it knows.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn manager(&self) -> Result<ManagerReport, ClientError> {
        self.read("/v1/manager").await
    }

    /// Settings of the manager.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn patch_manager(
        &self,
        request: &PatchManager,
        save: bool,
    ) -> Result<ManagerReport, ClientError> {
        self.send(Method::PATCH, &saving("/v1/manager".to_owned(), save), request).await
    }

    /// What advisors say of backends.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn advisors(&self) -> Result<Vec<AdvisorReport>, ClientError> {
        self.read("/v1/advisors").await
    }

    /// Connections that match.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn connections(&self, query: &ConnectionQuery) -> Result<Connections, ClientError> {
        self.read(&with_query("/v1/connections", query)).await
    }

    /// What a reload would change.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn plan(&self) -> Result<Plan, ClientError> {
        self.read("/v1/plan").await
    }

    /// What another configuration would change.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn plan_of(&self, file: &str, text: String) -> Result<Plan, ClientError> {
        let path = with_query("/v1/plan", &[("file", file)]);
        decode(self.exchange(Method::POST, &path, "application/toml", text.into()).await?)
            .map_err(|reason| self.broken(reason))
    }

    /// What happens from now on, of one service or at all.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn events(&self, service: Option<&str>) -> Result<EventStream, ClientError> {
        let query: Vec<_> = service.iter().map(|service| ("service", *service)).collect();
        let request = Request::get(with_query("/v1/events", &query)).header(HOST, "dispatcher");
        let request =
            request.body(Full::new(Bytes::new())).map_err(|e| self.broken(e.to_string()))?;
        let stream = self.connect().await?;
        let broken = |e: io::Error| self.broken(e.to_string());
        let (connection, response) = begin(stream, request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(EventStream::new(self.clone(), connection, body));
        }
        let body = whole(body).await.map_err(broken)?;
        connection.abort();
        Err(refused(status, &body).into())
    }

    /// Rereads the file.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn reload(&self) -> Result<Plan, ClientError> {
        let answer = self.exchange(Method::POST, "/v1/reload", JSON, Bytes::new()).await?;
        decode(answer).map_err(|reason| self.broken(reason))
    }

    /// A NIC in.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn attach(
        &self,
        interface: &str,
        request: &AttachInterface,
        save: bool,
    ) -> Result<Interface, ClientError> {
        self.send(Method::POST, &saving(interface_path(interface), save), request).await
    }

    /// A NIC out.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn detach(&self, interface: &str, save: bool) -> Result<(), ClientError> {
        self.delete(&saving(interface_path(interface), save)).await
    }

    /// A service in, which must not be there.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn add_service(
        &self,
        name: &str,
        request: &PutService,
        save: bool,
    ) -> Result<Service, ClientError> {
        self.send(Method::POST, &saving(service_path(name), save), request).await
    }

    /// Settings of a service.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn patch_service(
        &self,
        service: &str,
        request: &PatchService,
        save: bool,
    ) -> Result<Service, ClientError> {
        self.send(Method::PATCH, &saving(service_path(service), save), request).await
    }

    /// A service out.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete_service(&self, service: &str, save: bool) -> Result<(), ClientError> {
        self.delete(&saving(service_path(service), save)).await
    }

    /// A backend in, which must not be there.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn add_backend(
        &self,
        service: &str,
        name: &str,
        request: &PutBackend,
        save: bool,
    ) -> Result<Backend, ClientError> {
        self.send(Method::POST, &saving(backend_path(service, name), save), request).await
    }

    /// Weight, quiesce, up and down, settings of a backend.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn patch_backend(
        &self,
        service: &str,
        backend: &str,
        request: &PatchBackend,
        save: bool,
    ) -> Result<Backend, ClientError> {
        self.send(Method::PATCH, &saving(backend_path(service, backend), save), request).await
    }

    /// A backend out.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete_backend(
        &self,
        service: &str,
        backend: &str,
        save: bool,
    ) -> Result<(), ClientError> {
        self.delete(&saving(backend_path(service, backend), save)).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.exchange(Method::GET, path, JSON, Bytes::new()).await?;
        decode(answer).map_err(|reason| self.broken(reason))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(request).map_err(|e| self.broken(e.to_string()))?;
        let answer = self.exchange(method, path, JSON, body.into()).await?;
        decode(answer).map_err(|reason| self.broken(reason))
    }

    async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.exchange(Method::DELETE, path, JSON, Bytes::new()).await.map(drop)
    }

    /// One request and the body of its answer, if that is a good one.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "dispatcher")
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|e| self.broken(e.to_string()))?;
        let stream = self.connect().await?;
        let (status, body) =
            converse(stream, request).await.map_err(|e| self.broken(e.to_string()))?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body).into()) }
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

    fn broken(&self, reason: String) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), reason }
    }
}

const JSON: &str = "application/json";

async fn converse(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let (connection, response) = begin(stream, request).await?;
    let status = response.status();
    let body = whole(response.into_body()).await?;
    connection.abort();
    Ok((status, body))
}

/// Sends a request; yields what carries the answer, and the answer's head.
async fn begin(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> io::Result<(JoinHandle<hyper::Result<()>>, Response<Incoming>)> {
    let (mut sender, connection) =
        in_time(hyper::client::conn::http1::handshake(TokioIo::new(stream))).await?;
    let connection = tokio::spawn(connection);
    let response = in_time(sender.send_request(request)).await?;
    Ok((connection, response))
}

/// All of a body.
async fn whole(mut body: Incoming) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    // A long list takes longer than a part of it may.
    while let Some(part) = part(&mut body).await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.into())
}

/// The next part of a body; none: that was all.
async fn part(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    while let Some(frame) = in_time(async { body.frame().await.transpose() }).await? {
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A step of an exchange, if it does not take too long.
async fn in_time<T>(step: impl Future<Output = hyper::Result<T>>) -> io::Result<T> {
    let late = |_| {
        let reason = format!("no answer within {} s", TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, reason)
    };
    let done = tokio::time::timeout(TIMEOUT, step).await.map_err(late)?;
    done.map_err(|e| io::Error::other(format!("the daemon broke off: {e}")))
}

/// The error of a bad answer.
fn refused(status: StatusCode, body: &[u8]) -> ApiError {
    let kind = ErrorKind::of_status(status.as_u16());
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) => ApiError { kind, ..error },
        Err(_) => ApiError::new(kind, format!("the daemon answered {status} without a reason")),
    }
}

fn decode<T: DeserializeOwned>(body: Bytes) -> Result<T, String> {
    serde_json::from_slice(&body).map_err(|e| {
        format!("the daemon's answer is not understood: {e}; is it of another version?")
    })
}

fn segment(name: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(name, SEGMENT)
}

fn interface_path(name: &str) -> String {
    format!("/v1/interfaces/{}", segment(name))
}

fn service_path(service: &str) -> String {
    format!("/v1/services/{}", segment(service))
}

fn backend_path(service: &str, backend: &str) -> String {
    format!("{}/backends/{}", service_path(service), segment(backend))
}

fn saving(path: String, save: bool) -> String {
    if save { with_query(&path, &Save { save }) } else { path }
}

fn with_query(path: &str, query: &(impl Serialize + ?Sized)) -> String {
    match serde_urlencoded::to_string(query) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}
