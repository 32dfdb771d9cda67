//! The HTTP server, on one Unix socket: serves a table of routes.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, Uri},
    routing::{MethodFilter, on},
};
use tokio_util::sync::CancellationToken;

use super::{
    Controller,
    description::Draft,
    route::{Answer, Body, Query, Route},
    types::ApiError,
};
use crate::serve::http::{self, Limits};
use events::Streams;
use extract::{MAX_BODY_BYTES, Refusal};

pub(super) mod events;
mod extract;
pub(super) mod pages;
mod socket;

pub use socket::{Socket, SocketError, remove_dead};

/// Connections at a time.
const CLIENTS: usize = 128;

/// How long a client may take; beyond that its connection is closed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From connecting to the end of the first request's head.
    pub silent: Duration,
    /// From the last answer to the end of the next request's head: also how long a connection may be idle.
    pub head: Duration,
    /// From the head to the end of the body.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [few, more] = [5, 15].map(Duration::from_secs);
        Self { silent: few, head: more, body: more }
    }
}

/// What the operations of all routes use.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) controller: Arc<dyn Controller>,
    pub(super) streams: Streams,
    /// How long a body may take to arrive.
    pub(super) body: Duration,
}

/// Serves these routes until `shutdown`; then the file of the socket is removed.
///
/// # Errors
/// None: an error ends one connection only.
pub(super) async fn serve(
    socket: Socket,
    routes: Table,
    controller: Arc<dyn Controller>,
    patience: Patience,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let Socket { listener, file: _file } = socket;
    let Patience { silent, head, body } = patience;
    let server = Server { controller, streams: Streams::new(shutdown.clone()), body };
    let router = routes
        .router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(server);
    let limits = Limits { connections: CLIENTS, silent, head, only: None };
    http::serve("api_socket", listener, router, limits, shutdown).await;
    Ok(())
}

/// Routes with their operations, and their description.
#[derive(Debug, Default)]
pub(super) struct Table {
    router: Router<Server>,
    pub(super) description: Draft,
}

impl Table {
    /// Adds a route and its operation, which gets the names in the path, the query and the body.
    pub(super) fn row<const NAMES: usize, Q, B, A, F>(
        mut self,
        route: &Route<NAMES, Q, B, A>,
        operation: impl Fn(Server, [String; NAMES], Q, B::Value) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: Query,
        B: Body,
        A: Answer,
        F: Future<Output = Result<A::Given, Refusal>> + Send,
    {
        self.description.add(route);
        let handler = async move |State(server): State<Server>, request: Request| {
            let (names, query, body) = extract::asked::<NAMES, Q, B>(request, server.body).await?;
            operation(server, names, query, body).await.map(A::write)
        };
        self.router = self.router.route(route.path, on(filter(&route.method), handler));
        self
    }
}

/// The filter for a method; every method of the table has one.
fn filter(method: &Method) -> MethodFilter {
    method.clone().try_into().unwrap_or(MethodFilter::GET)
}

async fn no_route(uri: Uri) -> Refusal {
    let error = format!("path {}: is unknown, see /v1/openapi.json", uri.path());
    ApiError::not_found(error).into()
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    let error = format!("method {method}: is not allowed for {}, see /v1/openapi.json", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
}
