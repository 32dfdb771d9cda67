//! The HTTP API: types shared by server and command line, the server, the client.
//!
//! The server knows nothing of the datapath: it asks a [`Controller`], which the daemon is.

use std::future::Future;

use tokio::sync::broadcast;

pub mod client;
pub mod server;
pub mod types;

use types::{
    ApiError, AttachInterface, ConnectionQuery, Connections, Event, Interface, ManagerReport,
    PatchBackend, PatchManager, PatchService, Plan, PutBackend, PutService, Status,
};

/// What may be asked of the daemon. SERVICE and BACKEND are names, or addresses where they are unambiguous; the
/// implementation resolves them. A change that returns `Ok` is in force for the next packet; one that returns an error
/// changed nothing. With `save` the configuration file says it, too.
///
/// Implementations write `async fn`.
pub trait Controller: Send + Sync + 'static {
    /// Everything: what `status`, `services`, `backends` and metrics show.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// A NIC in.
    fn attach(
        &self,
        interface: String,
        request: AttachInterface,
        save: bool,
    ) -> impl Future<Output = Result<Interface, ApiError>> + Send;

    /// A NIC out.
    fn detach(
        &self,
        interface: String,
        save: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The one service that is meant, with its backends.
    fn service(
        &self,
        service: String,
    ) -> impl Future<Output = Result<types::Service, ApiError>> + Send;

    /// A service in; with `replace` the settings of one that is there are replaced (its backends stay), without it that
    /// is a conflict.
    fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> impl Future<Output = Result<types::Service, ApiError>> + Send;

    /// Some settings of a service.
    fn patch_service(
        &self,
        service: String,
        request: PatchService,
        save: bool,
    ) -> impl Future<Output = Result<types::Service, ApiError>> + Send;

    /// A service out, with its backends.
    fn delete_service(
        &self,
        service: String,
        save: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The one backend that is meant.
    fn backend(
        &self,
        service: String,
        backend: String,
    ) -> impl Future<Output = Result<types::Backend, ApiError>> + Send;

    /// A backend in; `replace` as for [`Controller::put_service`].
    fn put_backend(
        &self,
        service: String,
        name: String,
        request: PutBackend,
        replace: bool,
        save: bool,
    ) -> impl Future<Output = Result<types::Backend, ApiError>> + Send;

    /// Weight, quiesce, up and down, and settings of a backend.
    fn patch_backend(
        &self,
        service: String,
        backend: String,
        request: PatchBackend,
        save: bool,
    ) -> impl Future<Output = Result<types::Backend, ApiError>> + Send;

    /// A backend out.
    fn delete_backend(
        &self,
        service: String,
        backend: String,
        save: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// What the manager made of what it knows.
    fn manager(&self) -> impl Future<Output = Result<ManagerReport, ApiError>> + Send;

    /// Settings of the manager.
    fn patch_manager(
        &self,
        request: PatchManager,
        save: bool,
    ) -> impl Future<Output = Result<ManagerReport, ApiError>> + Send;

    /// Connections that match.
    fn connections(
        &self,
        query: ConnectionQuery,
    ) -> impl Future<Output = Result<Connections, ApiError>> + Send;

    /// What a reload would change: of the daemon's own file, or of another one.
    fn plan(
        &self,
        other: Option<PlanSource>,
    ) -> impl Future<Output = Result<Plan, ApiError>> + Send;

    /// What happens from now on: to one service, or all there is to tell. A reader that is too slow misses the oldest.
    fn events(
        &self,
        service: Option<String>,
    ) -> impl Future<Output = Result<Events, ApiError>> + Send;

    /// Rereads the file and makes the difference.
    fn reload(&self) -> impl Future<Output = Result<Plan, ApiError>> + Send;
}

/// Events to come.
#[derive(Debug)]
pub struct Events {
    /// All of them.
    pub receiver: broadcast::Receiver<Event>,
    /// Name of the service whose events are meant; none: all.
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
