//! The routes of the API: the one table from which server, client and description come.
//!
//! A row is `NAME = METHOD path: names in the path, query, body, answer; errors => what the server does`. Its text is what the
//! description says. `errors` are statuses in addition to those that follow from the parameters (see `description`).

use std::{
    io,
    marker::PhantomData,
    sync::{Arc, LazyLock},
};

use axum::http::Method;
use tokio_util::sync::CancellationToken;

use super::{
    Controller, PlanSource,
    route::{Created, Json, List, NoQuery, Nothing, Pages, Route, Stream, Toml},
    server::{self, Patience, Socket, Table, events, pages},
    types::{
        AdvisorReport, AttachInterface, Backend, ConnectionQuery, Connections, Description,
        EventQuery, Interface, ManagerReport, PatchBackend, PatchManager, PatchService, Plan,
        PlanQuery, PutBackend, PutService, Save, Service, Status,
    },
};

macro_rules! routes {
    ($(
        $(#[doc = $text:literal])+
        $name:ident = $method:ident $path:literal: $names:literal, $query:ty, $body:ty, $answer:ty; [$($error:literal),*]
            => |$s:pat_param, $given:pat_param, $asked:pat, $said:pat_param| $done:expr;
    )+) => {
        $(
            $(#[doc = $text])+
            pub static $name: Route<$names, $query, $body, $answer> = Route {
                method: Method::$method,
                path: $path,
                id: stringify!($name),
                text: &[$($text),+],
                errors: &[$($error),*],
                types: PhantomData,
            };
        )+

        /// All of them, as the server has them.
        fn all() -> Table {
            let table = Table::default();
            $(let table = table.row(&$name, |$s, $given, $asked, $said| async move { Ok($done) });)+
            table
        }
    };
}

routes! {
    /// Show everything: interfaces, services, the connection table, the configuration, and what needs attention.
    STATUS = GET "/v1/status": 0, NoQuery, Nothing, Json<Status>; []
        => |s, [], _, ()| s.controller.status().await?;
    /// List all interfaces.
    INTERFACES = GET "/v1/interfaces": 0, NoQuery, Nothing, List<Interface>; []
        => |s, [], _, ()| s.controller.status().await?.interfaces;
    /// Show an interface.
    INTERFACE = GET "/v1/interfaces/{interface}": 1, NoQuery, Nothing, Json<Interface>; []
        => |s, [interface], _, ()| s.controller.interface(interface).await?;
    /// Attach an interface.
    ATTACH = POST "/v1/interfaces/{interface}": 1, Save, Json<AttachInterface>, Created<Interface>; [409]
        => |s, [interface], Save { save }, request| s.controller.attach(interface, request, save).await?;
    /// Detach an interface.
    DETACH = DELETE "/v1/interfaces/{interface}": 1, Save, Nothing, Nothing; [409, 422]
        => |s, [interface], Save { save }, ()| s.controller.detach(interface, save).await?;

    /// List all services, with their backends.
    SERVICES = GET "/v1/services": 0, NoQuery, Nothing, List<Service>; []
        => |s, [], _, ()| s.controller.status().await?.services;
    /// Show a service, with its backends.
    SERVICE = GET "/v1/services/{service}": 1, NoQuery, Nothing, Json<Service>; [409]
        => |s, [service], _, ()| s.controller.service(service).await?;
    /// Create a service.
    ///
    /// The service must not exist.
    ADD_SERVICE = POST "/v1/services/{service}": 1, Save, Json<PutService>, Created<Service>; [409]
        => |s, [name], Save { save }, request| s.controller.put_service(name, request, false, save).await?;
    /// Create a service, or replace its settings.
    ///
    /// The backends of a service that exists stay.
    PUT_SERVICE = PUT "/v1/services/{service}": 1, Save, Json<PutService>, Json<Service>; [409]
        => |s, [name], Save { save }, request| s.controller.put_service(name, request, true, save).await?;
    /// Change some settings of a service.
    PATCH_SERVICE = PATCH "/v1/services/{service}": 1, Save, Json<PatchService>, Json<Service>; [409]
        => |s, [service], Save { save }, request| s.controller.patch_service(service, request, save).await?;
    /// Remove a service, with its backends.
    REMOVE_SERVICE = DELETE "/v1/services/{service}": 1, Save, Nothing, Nothing; [409, 422]
        => |s, [service], Save { save }, ()| s.controller.delete_service(service, save).await?;

    /// List all backends of a service.
    BACKENDS = GET "/v1/services/{service}/backends": 1, NoQuery, Nothing, List<Backend>; [409]
        => |s, [service], _, ()| s.controller.service(service).await?.backends;
    /// Show a backend.
    BACKEND = GET "/v1/services/{service}/backends/{backend}": 2, NoQuery, Nothing, Json<Backend>; [409]
        => |s, [service, backend], _, ()| s.controller.backend(service, backend).await?;
    /// Create a backend.
    ///
    /// The backend must not exist.
    ADD_BACKEND = POST "/v1/services/{service}/backends/{backend}": 2, Save, Json<PutBackend>, Created<Backend>; [409]
        => |s, [service, name], Save { save }, request| {
            s.controller.put_backend(service, name, request, false, save).await?
        };
    /// Create a backend, or replace its settings.
    PUT_BACKEND = PUT "/v1/services/{service}/backends/{backend}": 2, Save, Json<PutBackend>, Json<Backend>; [409]
        => |s, [service, name], Save { save }, request| {
            s.controller.put_backend(service, name, request, true, save).await?
        };
    /// Change a backend: weight, quiesce, up and down, and other settings.
    PATCH_BACKEND = PATCH "/v1/services/{service}/backends/{backend}": 2, Save, Json<PatchBackend>, Json<Backend>; [409]
        => |s, [service, backend], Save { save }, request| {
            s.controller.patch_backend(service, backend, request, save).await?
        };
    /// Remove a backend.
    REMOVE_BACKEND = DELETE "/v1/services/{service}/backends/{backend}": 2, Save, Nothing, Nothing; [409, 422]
        => |s, [service, backend], Save { save }, ()| s.controller.delete_backend(service, backend, save).await?;

    /// Show what advisors found out about each backend that is probed.
    ADVISORS = GET "/v1/advisors": 0, NoQuery, Nothing, List<AdvisorReport>; []
        => |s, [], _, ()| AdvisorReport::all(&s.controller.status().await?.services);
    /// Show the settings of the manager, and each backend's loads, components and weight.
    MANAGER = GET "/v1/manager": 0, NoQuery, Nothing, Json<ManagerReport>; []
        => |s, [], _, ()| s.controller.manager().await?;
    /// Change some settings of the manager.
    PATCH_MANAGER = PATCH "/v1/manager": 0, Save, Json<PatchManager>, Json<ManagerReport>; [409]
        => |s, [], Save { save }, request| s.controller.patch_manager(request, save).await?;
    /// List connections of the connection table.
    ///
    /// Half-open connections are counted, not listed.
    CONNECTIONS = GET "/v1/connections": 0, ConnectionQuery, Nothing, Pages<Connections>; [404, 409]
        => |s, [], query, ()| pages::answer(s.controller, query).await?;
    /// Show what a reload would change.
    PLAN = GET "/v1/plan": 0, NoQuery, Nothing, Json<Plan>; [409, 422]
        => |s, [], _, ()| s.controller.plan(None).await?;
    /// Show what another configuration would change.
    PLAN_OTHER = POST "/v1/plan": 0, PlanQuery, Toml, Json<Plan>; [409, 422]
        => |s, [], PlanQuery { file }, text| s.controller.plan(Some(PlanSource { file, text })).await?;
    /// Read the configuration file again and apply what differs.
    RELOAD = POST "/v1/reload": 0, NoQuery, Nothing, Json<Plan>; [409, 422]
        => |s, [], _, ()| s.controller.reload().await?;
    /// Report what happens from now on, until the client closes the connection or the daemon stops.
    ///
    /// Each server-sent event has an id that grows, its word as event, and an Event as data. Comments keep the connection alive.
    EVENTS = GET "/v1/events": 0, EventQuery, Nothing, Stream; [404, 409, 503]
        => |s, [], EventQuery { service }, ()| events::answer(&*s.controller, s.streams, service).await?;
    /// Show this description.
    OPENAPI = GET "/v1/openapi.json": 0, NoQuery, Nothing, Json<Description>; []
        => |_, [], _, ()| description().clone();
}

/// Serves the API until `shutdown`; then the file of the socket is removed.
///
/// # Errors
/// None: an error ends one connection only.
pub async fn serve(
    socket: Socket,
    controller: Arc<dyn Controller>,
    patience: Patience,
    shutdown: CancellationToken,
) -> io::Result<()> {
    server::serve(socket, all(), controller, patience, shutdown).await
}

/// The description of all routes.
pub fn description() -> &'static Description {
    static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| all().description.finish());
    &DESCRIPTION
}
