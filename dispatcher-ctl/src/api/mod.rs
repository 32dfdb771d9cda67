//! The HTTP API: types that server, command line and metrics share, the table of routes, the server, the client.
//!
//! The server knows nothing of the datapath: it asks a [`Controller`], which the daemon is.

use async_trait::async_trait;
use tokio::sync::broadcast;

pub mod client;
mod description;
pub mod route;
pub mod routes;
mod schema;
pub mod server;
pub mod types;

pub use routes::{description, serve};
pub use schema::Schemas;
use types::{
    ApiError, AttachInterface, Backend, ConnectionQuery, Connections, Event, Interface,
    ManagerReport, PatchBackend, PatchManager, PatchService, Plan, PutBackend, PutService, Service,
    Status,
};

/// What an operation yields.
pub type Done<T> = Result<T, ApiError>;

/// The operations of the daemon. `service` and `backend` are names, or addresses if they are unambiguous; the implementation
/// resolves them. A change that returns `Ok` is in force for the next packet; one that returns an error changed nothing. With
/// `save` it is also written to the configuration file.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Everything that status, services, backends and metrics show.
    async fn status(&self) -> Done<Status>;

    /// An interface by its name.
    async fn interface(&self, name: String) -> Done<Interface> {
        let interfaces = self.status().await?.interfaces;
        let found = interfaces.into_iter().find(|interface| interface.name == name);
        found.ok_or_else(|| {
            ApiError::not_found(format!("interface {name}: is neither attached nor configured"))
        })
    }

    /// Attaches an interface.
    async fn attach(&self, name: String, request: AttachInterface, save: bool) -> Done<Interface>;

    /// Detaches an interface.
    async fn detach(&self, name: String, save: bool) -> Done<()>;

    /// A service with its backends.
    async fn service(&self, service: String) -> Done<Service>;

    /// Creates a service. One that exists is a conflict; with `replace` its settings are replaced, and its backends stay.
    async fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> Done<Service>;

    /// Changes some settings of a service.
    async fn patch_service(
        &self,
        service: String,
        request: PatchService,
        save: bool,
    ) -> Done<Service>;

    /// Removes a service with its backends.
    async fn delete_service(&self, service: String, save: bool) -> Done<()>;

    /// A backend.
    async fn backend(&self, service: String, backend: String) -> Done<Backend>;

    /// Creates a backend; `replace` as for [`Controller::put_service`].
    async fn put_backend(
        &self,
        service: String,
        name: String,
        request: PutBackend,
        replace: bool,
        save: bool,
    ) -> Done<Backend>;

    /// Changes a backend: weight, quiesce, up and down, and other settings.
    async fn patch_backend(
        &self,
        service: String,
        backend: String,
        request: PatchBackend,
        save: bool,
    ) -> Done<Backend>;

    /// Removes a backend.
    async fn delete_backend(&self, service: String, backend: String, save: bool) -> Done<()>;

    /// The settings of the manager, and what it makes of what it knows.
    async fn manager(&self) -> Done<ManagerReport>;

    /// Changes some settings of the manager.
    async fn patch_manager(&self, request: PatchManager, save: bool) -> Done<ManagerReport>;

    /// Connections that match.
    async fn connections(&self, query: ConnectionQuery) -> Done<Connections>;

    /// What a reload of the daemon's own file would change, or one of another configuration.
    async fn plan(&self, other: Option<PlanSource>) -> Done<Plan>;

    /// Events from now on, of one service or of all. A reader that is too slow misses the oldest.
    async fn events(&self, service: Option<String>) -> Done<Events>;

    /// Reads the configuration file again and applies what differs.
    async fn reload(&self) -> Done<Plan>;
}

/// Events to come.
#[derive(Debug)]
pub struct Events {
    /// Receives the events of all services.
    pub receiver: broadcast::Receiver<Event>,
    /// Name of the service that the events are about; none: all.
    pub service: Option<String>,
}

/// A configuration that is not the daemon's own file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSource {
    /// Its name, for errors.
    pub file: String,
    /// Its text.
    pub text: String,
}
