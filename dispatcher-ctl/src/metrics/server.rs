//! `GET /metrics` over TCP.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CONTENT_TYPE as METRICS, render};
use crate::{
    api::Controller,
    serve::http::{self, Limits},
};

/// At most 32 scrapes at a time, each on a connection of its own.
const LIMITS: Limits = Limits {
    connections: 32,
    silent: Duration::from_secs(5),
    head: Duration::from_secs(5),
    only: Some(Duration::from_secs(30)),
};

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
/// Where the address is in use, or is not an address of this host.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves metrics until `shutdown`.
///
/// # Errors
/// None: an error ends one connection only.
pub async fn serve(
    listener: TcpListener,
    controller: Arc<dyn Controller>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .fallback(async || answer(StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()))
        .method_not_allowed_fallback(async || {
            answer(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".to_owned())
        })
        .with_state(controller);
    http::serve("metrics_listen", listener, router, LIMITS, shutdown).await;
    Ok(())
}

async fn metrics(State(controller): State<Arc<dyn Controller>>) -> impl IntoResponse {
    let rendered = match controller.status().await {
        Ok(status) => render(&status).map_err(|e| e.to_string()),
        Err(e) => Err(e.error),
    };
    match rendered {
        Ok(metrics) => answer(StatusCode::OK, metrics),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error + "\n"),
    }
}

fn answer(status: StatusCode, body: String) -> impl IntoResponse {
    (status, [(CONTENT_TYPE, METRICS)], body)
}
