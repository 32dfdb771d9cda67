//! `GET /metrics` over TCP.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CONTENT_TYPE, render};
use crate::api::Controller;

/// How long scrapes under way may take once the daemon stops.
const GRACE: Duration = Duration::from_secs(1);

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
/// Where the listener fails.
pub async fn serve<C: Controller>(
    listener: TcpListener,
    controller: Arc<C>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/", get("dispatcher: metrics are at /metrics\n"))
        .route("/metrics", get(metrics::<C>))
        .with_state(controller);
    let server =
        axum::serve(listener, routes).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        result = server.into_future() => result,
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

async fn metrics<C: Controller>(State(controller): State<Arc<C>>) -> Response {
    let text = match controller.status().await {
        Ok(status) => render(&status).map_err(|e| e.to_string()),
        Err(e) => Err(e.error),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
