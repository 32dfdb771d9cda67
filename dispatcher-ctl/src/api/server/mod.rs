//! The HTTP server: which method on which path asks the [`Controller`] what. Serves one Unix socket.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    Controller, PlanSource,
    types::{
        AdvisorReport, ApiError, AttachInterface, Backend, ConnectionQuery, Interface,
        ManagerReport, PatchBackend, PatchManager, PatchService, Plan, PutBackend, PutService,
        Save, Service, Status,
    },
};
use crate::serve::http::{self, Limits};
use events::Streams;
use extract::{Asked, Body, BodyPatience, Names, Refusal, Text};

mod events;
mod extract;
mod pages;
mod socket;

pub use socket::{Socket, SocketError, remove_dead};

/// The description of the API.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Connections at a time.
const CLIENTS: usize = 128;
/// The largest body: a configuration of some 50,000 backends.
const MAX_BODY_BYTES: usize = 16 << 20;

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

/// Serves the API until `shutdown`; the socket's file is gone afterwards.
///
/// # Errors
/// None that ends it: a connection that fails is its client's affair.
pub async fn serve<C: Controller>(
    socket: Socket,
    controller: Arc<C>,
    patience: Patience,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let Socket { listener, file: _file } = socket;
    let router = router(controller)
        .layer(Extension(BodyPatience(patience.body)))
        .layer(Extension(Streams::new(shutdown.clone())));
    let Patience { silent, head, .. } = patience;
    let limits = Limits { connections: CLIENTS, silent, head, only: None };
    http::serve("api_socket", listener, router, limits, shutdown).await;
    Ok(())
}

/// All routes.
pub fn router<C: Controller>(controller: Arc<C>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<C>))
        .route("/v1/interfaces", get(interfaces::<C>))
        .route(
            "/v1/interfaces/{interface}",
            get(interface::<C>).post(attach::<C>).delete(detach::<C>),
        )
        .route("/v1/services", get(services::<C>))
        .route(
            "/v1/services/{service}",
            get(service::<C>)
                .post(create_service::<C>)
                .put(replace_service::<C>)
                .patch(patch_service::<C>)
                .delete(delete_service::<C>),
        )
        .route("/v1/services/{service}/backends", get(backends::<C>))
        .route(
            "/v1/services/{service}/backends/{backend}",
            get(backend::<C>)
                .post(create_backend::<C>)
                .put(replace_backend::<C>)
                .patch(patch_backend::<C>)
                .delete(delete_backend::<C>),
        )
        .route("/v1/advisors", get(advisors::<C>))
        .route("/v1/manager", get(manager::<C>).patch(patch_manager::<C>))
        .route("/v1/connections", get(connections::<C>))
        .route("/v1/plan", get(plan::<C>).post(plan_other::<C>))
        .route("/v1/events", get(events::events::<C>))
        .route("/v1/reload", post(reload::<C>))
        .route("/v1/openapi.json", get(openapi))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(controller)
}

type Asks<C> = State<Arc<C>>;
type Answer<T> = Result<Json<T>, Refusal>;
type Created<T> = Result<(StatusCode, Json<T>), Refusal>;
type Done = Result<StatusCode, Refusal>;

async fn status<C: Controller>(State(c): Asks<C>) -> Answer<Status> {
    Ok(Json(c.status().await?))
}

async fn interfaces<C: Controller>(State(c): Asks<C>) -> Answer<Vec<Interface>> {
    Ok(Json(c.status().await?.interfaces))
}

async fn interface<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
) -> Answer<Interface> {
    let interfaces = c.status().await?.interfaces;
    let found = interfaces.into_iter().find(|interface| interface.name == name);
    Ok(Json(found.ok_or_else(|| {
        ApiError::not_found(format!("interface {name}: is not attached, nor is it to be"))
    })?))
}

async fn attach<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<AttachInterface>,
) -> Created<Interface> {
    Ok((StatusCode::CREATED, Json(c.attach(name, request, save).await?)))
}

async fn detach<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
) -> Done {
    c.detach(name, save).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn services<C: Controller>(State(c): Asks<C>) -> Answer<Vec<Service>> {
    Ok(Json(c.status().await?.services))
}

async fn service<C: Controller>(State(c): Asks<C>, Names(name): Names<String>) -> Answer<Service> {
    Ok(Json(c.service(name).await?))
}

async fn create_service<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PutService>,
) -> Created<Service> {
    Ok((StatusCode::CREATED, Json(c.put_service(name, request, false, save).await?)))
}

async fn replace_service<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PutService>,
) -> Answer<Service> {
    Ok(Json(c.put_service(name, request, true, save).await?))
}

async fn patch_service<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PatchService>,
) -> Answer<Service> {
    Ok(Json(c.patch_service(name, request, save).await?))
}

async fn delete_service<C: Controller>(
    State(c): Asks<C>,
    Names(name): Names<String>,
    Asked(Save { save }): Asked<Save>,
) -> Done {
    c.delete_service(name, save).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn backends<C: Controller>(
    State(c): Asks<C>,
    Names(service): Names<String>,
) -> Answer<Vec<Backend>> {
    Ok(Json(c.service(service).await?.backends))
}

async fn backend<C: Controller>(
    State(c): Asks<C>,
    Names((service, name)): Names<(String, String)>,
) -> Answer<Backend> {
    Ok(Json(c.backend(service, name).await?))
}

async fn create_backend<C: Controller>(
    State(c): Asks<C>,
    Names((service, name)): Names<(String, String)>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PutBackend>,
) -> Created<Backend> {
    Ok((StatusCode::CREATED, Json(c.put_backend(service, name, request, false, save).await?)))
}

async fn replace_backend<C: Controller>(
    State(c): Asks<C>,
    Names((service, name)): Names<(String, String)>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PutBackend>,
) -> Answer<Backend> {
    Ok(Json(c.put_backend(service, name, request, true, save).await?))
}

async fn patch_backend<C: Controller>(
    State(c): Asks<C>,
    Names((service, name)): Names<(String, String)>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PatchBackend>,
) -> Answer<Backend> {
    Ok(Json(c.patch_backend(service, name, request, save).await?))
}

async fn delete_backend<C: Controller>(
    State(c): Asks<C>,
    Names((service, name)): Names<(String, String)>,
    Asked(Save { save }): Asked<Save>,
) -> Done {
    c.delete_backend(service, name, save).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn advisors<C: Controller>(State(c): Asks<C>) -> Answer<Vec<AdvisorReport>> {
    Ok(Json(AdvisorReport::all(&c.status().await?.services)))
}

async fn manager<C: Controller>(State(c): Asks<C>) -> Answer<ManagerReport> {
    Ok(Json(c.manager().await?))
}

async fn patch_manager<C: Controller>(
    State(c): Asks<C>,
    Asked(Save { save }): Asked<Save>,
    Body(request): Body<PatchManager>,
) -> Answer<ManagerReport> {
    Ok(Json(c.patch_manager(request, save).await?))
}

async fn connections<C: Controller>(
    State(c): Asks<C>,
    Asked(query): Asked<ConnectionQuery>,
) -> Result<Response, Refusal> {
    Ok(pages::answer(c, query).await?)
}

async fn plan<C: Controller>(State(c): Asks<C>) -> Answer<Plan> {
    Ok(Json(c.plan(None).await?))
}

/// Query of `POST /v1/plan`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileName {
    #[serde(default = "unnamed")]
    file: String,
}

fn unnamed() -> String {
    "configuration".to_owned()
}

async fn plan_other<C: Controller>(
    State(c): Asks<C>,
    Asked(FileName { file }): Asked<FileName>,
    Text(text): Text,
) -> Answer<Plan> {
    Ok(Json(c.plan(Some(PlanSource { file, text })).await?))
}

async fn reload<C: Controller>(State(c): Asks<C>) -> Answer<Plan> {
    Ok(Json(c.reload().await?))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn no_route(uri: Uri) -> Refusal {
    let error = format!("path {}: is none of the api's, see /v1/openapi.json", uri.path());
    ApiError::not_found(error).into()
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    let error = format!("method {method}: is none that {} has, see /v1/openapi.json", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
}
