//! `GET /metrics` over TCP.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{CONTENT_TYPE as METRICS, render};
use crate::api::Controller;

/// How long a scrape may take, from connect to the last byte: nobody can hold a connection open.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Scrapes at a time; one more waits in the backlog.
const SCRAPES: usize = 32;
/// Pause after a failed accept, which may be for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics_listen {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens for scrapes.
///
/// # Errors
/// Where the address is not free or not this host's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves metrics until `shutdown`.
///
/// # Errors
/// None that ends it: a connection that fails is its client's affair.
pub async fn serve<C: Controller>(
    listener: TcpListener,
    controller: Arc<C>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut scrapes = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(_) = scrapes.join_next(), if !scrapes.is_empty() => {}
            accepted = listener.accept(), if scrapes.len() < SCRAPES => match accepted {
                Ok((stream, _)) => {
                    scrapes.spawn(scrape(stream, Arc::clone(&controller)));
                }
                Err(error) => {
                    tracing::warn!("metrics_listen: cannot accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

/// One connection, one answer.
async fn scrape<C: Controller>(stream: TcpStream, controller: Arc<C>) {
    let service = service_fn(move |request| {
        let controller = Arc::clone(&controller);
        async move { Ok::<_, Infallible>(answer(&request, &*controller).await) }
    });
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("metrics: {error}"),
        Err(_) => tracing::debug!("metrics: not done within {TIMEOUT:?}"),
    }
}

async fn answer<C: Controller>(
    request: &Request<Incoming>,
    controller: &C,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".to_owned());
    }
    let rendered = match controller.status().await {
        Ok(status) => render(&status).map_err(|e| e.to_string()),
        Err(e) => Err(e.error),
    };
    match rendered {
        Ok(metrics) => text(StatusCode::OK, metrics),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error + "\n"),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS));
    response
}
