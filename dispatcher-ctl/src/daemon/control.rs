//! What the API may ask: every request takes its turn on the core.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, MutexGuard};

use super::{clock, core::Core, events::Cause, view::Reading};
use crate::{
    api::{
        Controller, Events, PlanSource,
        types::{
            self, ApiError, AttachInterface, ConnectionQuery, Connections, EventKind, Interface,
            ManagerReport, PatchBackend, PatchManager, PatchService, Plan, PutBackend, PutService,
            Status,
        },
    },
    config,
    model::{Config, NicName, Service, State},
    reconcile::{self, PlanLine, edit, edit::Edit},
};

/// The daemon, as requests see it.
#[derive(Clone, Debug)]
pub(super) struct Handle(Arc<Mutex<Core>>);

impl Handle {
    pub(super) fn new(core: Arc<Mutex<Core>>) -> Self {
        Self(core)
    }

    /// The core, for as long as nobody else may have it.
    pub(super) async fn core(&self) -> MutexGuard<'_, Core> {
        self.0.lock().await
    }
}

impl Controller for Handle {
    async fn status(&self) -> Result<Status, ApiError> {
        self.core().await.status()
    }

    async fn attach(
        &self,
        interface: String,
        request: AttachInterface,
        save: bool,
    ) -> Result<Interface, ApiError> {
        let mut core = self.core().await;
        core.edit().attach(&interface)?;
        let interface = core.require_link(&interface).await?;
        let state = core.edit().attach(&interface)?;
        core.choose_mode(&interface, request.mode);
        if let Err(error) = core.change(state, save).await {
            // The driver may have refused it: what was not done is not kept either.
            let without = core.edit().detach(&interface)?;
            core.commit(without, None, Cause::Hand).await?;
            return Err(error);
        }
        let reading = core.read_quickly()?;
        let views = core.interfaces(&reading);
        let found = views.into_iter().find(|view| view.name == interface);
        found.ok_or_else(|| ApiError::failed(format!("interface {interface}: gone meanwhile")))
    }

    async fn detach(&self, interface: String, save: bool) -> Result<(), ApiError> {
        let mut core = self.core().await;
        let interface = core.running_name(interface).await?;
        let state = core.edit().detach(&interface)?;
        core.change(state, save).await
    }

    async fn service(&self, service: String) -> Result<types::Service, ApiError> {
        let core = self.core().await;
        core.shown_service(&service, &core.read()?)
    }

    async fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> Result<types::Service, ApiError> {
        let mut core = self.core().await;
        let state = core.edit().put_service(&name, &request, replace)?;
        core.change(state, save).await?;
        core.shown_service(&name, &core.read_quickly()?)
    }

    async fn patch_service(
        &self,
        service: String,
        request: PatchService,
        save: bool,
    ) -> Result<types::Service, ApiError> {
        let mut core = self.core().await;
        let state = core.edit().patch_service(&service, &request)?;
        core.change(state, save).await?;
        core.shown_service(&service, &core.read_quickly()?)
    }

    async fn delete_service(&self, service: String, save: bool) -> Result<(), ApiError> {
        let mut core = self.core().await;
        let state = core.edit().remove_service(&service)?;
        core.change(state, save).await
    }

    async fn backend(&self, service: String, backend: String) -> Result<types::Backend, ApiError> {
        let core = self.core().await;
        core.shown_backend(&service, &backend, &core.read()?)
    }

    async fn put_backend(
        &self,
        service: String,
        name: String,
        request: PutBackend,
        replace: bool,
        save: bool,
    ) -> Result<types::Backend, ApiError> {
        let mut core = self.core().await;
        let state = core.edit().put_backend(&service, &name, &request, replace)?;
        core.change(state, save).await?;
        core.shown_backend_quickly(&service, &name)
    }

    async fn patch_backend(
        &self,
        service: String,
        backend: String,
        request: PatchBackend,
        save: bool,
    ) -> Result<types::Backend, ApiError> {
        let mut core = self.core().await;
        let state = core.edit().patch_backend(&service, &backend, &request)?;
        core.change(state, save).await?;
        core.shown_backend_quickly(&service, &backend)
    }

    async fn delete_backend(
        &self,
        service: String,
        backend: String,
        save: bool,
    ) -> Result<(), ApiError> {
        let mut core = self.core().await;
        let state = core.edit().remove_backend(&service, &backend)?;
        core.change(state, save).await
    }

    async fn manager(&self) -> Result<ManagerReport, ApiError> {
        Ok(self.core().await.manager_report())
    }

    async fn patch_manager(
        &self,
        request: PatchManager,
        save: bool,
    ) -> Result<ManagerReport, ApiError> {
        let mut core = self.core().await;
        let state = core.edit().patch_manager(&request)?;
        core.change(state, save).await?;
        Ok(core.manager_report())
    }

    async fn connections(&self, query: ConnectionQuery) -> Result<Connections, ApiError> {
        let search = self.core().await.search(&query)?;
        // Walking a large table takes a while: not while holding the core, nor on a thread that others wait for.
        tokio::task::spawn_blocking(move || search.run())
            .await
            .map_err(|e| ApiError::failed(format!("the search was cut short: {e}")))?
    }

    async fn plan(&self, other: Option<PlanSource>) -> Result<Plan, ApiError> {
        let core = self.core().await;
        let config = match other {
            Some(PlanSource { file, text }) => config::parse(&text, &file),
            None => config::load(&core.file),
        };
        let config = config?;
        core.planned(&config).await.map(Planned::plan)
    }

    async fn events(&self, service: Option<String>) -> Result<Events, ApiError> {
        let core = self.core().await;
        let named = |wanted: String| {
            edit::find_service(core.state(), &wanted).map(|service| service.config.name.clone())
        };
        let service = service.map(named).transpose()?;
        Ok(Events { receiver: core.events.subscribe(), service })
    }

    async fn reload(&self) -> Result<Plan, ApiError> {
        let mut core = self.core().await;
        let result = core.reload().await;
        core.config_status.reload_success = result.is_ok();
        core.config_status.last_reload = clock::epoch_seconds();
        if let Err(error) = &result {
            tracing::error!("reload refused: {error}");
            error.errors.iter().for_each(|line| tracing::error!("{line}"));
        }
        result
    }
}

impl Core {
    /// Changes of what runs, to be tried.
    fn edit(&self) -> Edit<'_> {
        Edit {
            state: self.state(),
            retired: &self.record.retired_slots,
            now_ms: clock::epoch_ms(),
            rings: self.rings,
        }
    }

    /// Puts a state in force that was made by hand, and into the file if it shall say so.
    async fn change(&mut self, state: State, save: bool) -> Result<(), ApiError> {
        // What can fail about the file fails before anything is changed; what is left to do afterwards is a rename.
        let file = if save { Some(SavedFile::prepare(&self.file, self, &state)?) } else { None };
        log_changes(&reconcile::plan(self.state(), &state));
        let applied = file.as_ref().map(|file| file.config.clone());
        self.commit(state, applied, Cause::Hand).await?;
        let Some(file) = file else { return Ok(()) };
        let (_, names) = self.kernel_names(&file.config).await?;
        self.keep_names(names);
        file.keep()
    }

    /// What applying a configuration would change, and the state it would lead to.
    async fn planned(&self, config: &Config) -> Result<Planned, ApiError> {
        let (named, names) = self.kernel_names(config).await?;
        let applied = self.applied_names();
        let retired = &self.record.retired_slots;
        let wanted =
            reconcile::merge(Some(&applied), &named, self.state(), retired, clock::epoch_ms())?;
        let changes = reconcile::plan(self.state(), &wanted);
        let settings = reconcile::plan_settings(&self.record.applied, config);
        let notes = self.stale_names(&names);
        Ok(Planned { changes, settings, notes, names, wanted })
    }

    /// Rereads the file and makes the difference.
    async fn reload(&mut self) -> Result<Plan, ApiError> {
        let config = self.reader.load(&self.file)?;
        let mut planned = self.planned(&config).await?;
        let wanted = std::mem::take(&mut planned.wanted);
        log_changes(&planned.changes);
        self.commit(wanted, Some(config), Cause::File).await?;
        self.keep_names(std::mem::take(&mut planned.names));
        self.add_missed_vips().await;
        planned.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let plan = planned.plan();
        self.events.tell(EventKind::Reloaded { changes: plan.changes.len() });
        Ok(plan)
    }

    fn shown_service(&self, wanted: &str, reading: &Reading) -> Result<types::Service, ApiError> {
        let service: &Service = edit::find_service(self.state(), wanted)?;
        Ok(self.service_view(service, reading))
    }

    /// A backend, after a change of it: only its own counters are read.
    fn shown_backend_quickly(
        &self,
        service: &str,
        backend: &str,
    ) -> Result<types::Backend, ApiError> {
        let service = edit::find_service(self.state(), service)?;
        let backend = edit::find_backend(service, backend)?;
        Ok(self.backend_view(backend, &self.read_backend(backend.slot)?))
    }

    fn shown_backend(
        &self,
        service: &str,
        backend: &str,
        reading: &Reading,
    ) -> Result<types::Backend, ApiError> {
        let service = edit::find_service(self.state(), service)?;
        let backend = edit::find_backend(service, backend)?;
        Ok(self.backend_view(backend, reading))
    }
}

/// What applying a configuration comes to.
struct Planned {
    /// What would change of NICs and services.
    changes: Vec<PlanLine>,
    /// What would change beside them.
    settings: Vec<PlanLine>,
    /// What is wrong with names of NICs.
    notes: Vec<String>,
    /// NICs that the file calls otherwise than the kernel.
    names: Vec<NicName>,
    /// The state it would lead to.
    wanted: State,
}

impl Planned {
    /// As it is told.
    fn plan(self) -> Plan {
        let (notes, settings): (Vec<_>, Vec<_>) =
            self.settings.into_iter().partition(|line| line.note.is_some());
        Plan {
            notes: notes.iter().map(ToString::to_string).chain(self.notes).collect(),
            changes: self.changes.into_iter().chain(settings).map(Into::into).collect(),
        }
    }
}

fn log_changes(changes: &[PlanLine]) {
    for change in changes {
        tracing::info!("{change}");
    }
}

/// The configuration file as it shall be, written beside the one there is.
struct SavedFile {
    path: PathBuf,
    beside: PathBuf,
    /// What it says.
    config: Config,
}

impl SavedFile {
    /// Writes it; nothing uses it yet.
    fn prepare(file: &Path, core: &Core, state: &State) -> Result<Self, ApiError> {
        let name = file.display().to_string();
        let failed = |e: io::Error| ApiError::failed(format!("{name}: cannot be saved: {e}"));
        let text = fs::read_to_string(file).map_err(failed)?;
        let state = State { interfaces: core.file_names(state), ..state.clone() };
        let text = config::save(&text, &name, &core.record.applied, &state)?;
        let config = config::parse(&text, &name)?;
        let path = fs::canonicalize(file).map_err(failed)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let permissions = fs::metadata(&path).map_err(failed)?.permissions();
        fs::write(&beside, text).map_err(failed)?;
        fs::set_permissions(&beside, permissions).map_err(failed)?;
        Ok(Self { path, beside: beside.into(), config })
    }

    /// Puts it in the place of the one there is, whole or not at all.
    fn keep(self) -> Result<(), ApiError> {
        fs::rename(&self.beside, &self.path).map_err(|e| {
            ApiError::failed(format!("{}: in force, but not saved: {e}", self.path.display()))
        })
    }
}

impl Drop for SavedFile {
    fn drop(&mut self) {
        // Kept, it is no longer there; refused, nobody wants it.
        let _ = fs::remove_file(&self.beside);
    }
}
