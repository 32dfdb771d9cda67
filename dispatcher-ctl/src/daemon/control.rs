//! Requests of the API; each one locks the core in turn.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    clock,
    core::Core,
    file::{ConfigFile, Reading as FileReading},
    reports::Cause,
    view::Reading,
};
use crate::{
    api::{
        Controller, Done, Events, PlanSource,
        types::{
            self, ApiError, AttachInterface, ConnectionQuery, Connections, EventKind, Interface,
            ManagerReport, PatchBackend, PatchManager, PatchService, Plan, PutBackend, PutService,
            Status,
        },
    },
    model::{Config, NicName, Service, State},
    reconcile::{self, Change, PlanLine, edit, edit::Edit},
};

/// How often a file is written at most until it agrees with the running state, which others may change in the meantime.
const SAVES: usize = 5;

/// The daemon, as requests see it. Lock order: the file before the core; never wait for the file while holding the core.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    core: Arc<Mutex<Core>>,
    file: ConfigFile,
    /// Reads posted configurations one at a time.
    posted: FileReading,
}

impl Handle {
    pub(super) fn new(core: Arc<Mutex<Core>>, file: ConfigFile) -> Self {
        Self { core, file, posted: FileReading::default() }
    }

    /// Locks the core.
    pub(super) async fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().await
    }

    /// Makes a change by hand, and with `save` writes it into the file.
    async fn change(
        &self,
        save: bool,
        edit: impl Fn(&Core) -> Done<State> + Send + 'static,
    ) -> Done<MutexGuard<'_, Core>> {
        if save {
            let handle = self.clone();
            // A client that disconnects must not interrupt the save.
            tokio::spawn(async move { handle.change_and_save(edit).await })
                .await
                .map_err(|e| ApiError::failed(format!("the change was interrupted: {e}")))??;
            return Ok(self.core().await);
        }
        let mut core = self.core().await;
        let state = edit(&core)?;
        core.change(state, None).await?;
        Ok(core)
    }

    /// All file operations that can fail come before the change; only a rename comes after it.
    async fn change_and_save(
        &self,
        edit: impl Fn(&Core) -> Done<State> + Send + 'static,
    ) -> Done<()> {
        let file = self.file.turn().await?;
        // Check the request first: that does not need the file.
        {
            let core = self.core().await;
            edit(&core)?;
        }
        let before = file.open().await?;
        for _ in 0..SAVES {
            let (applied, state) = {
                let core = self.core().await;
                (core.store.applied.clone(), core.in_file(edit(&core)?))
            };
            let (saved, draft) = file.draft(&before, applied, state).await?;
            let mut core = self.core().await;
            let state = edit(&core)?;
            // The running state may have changed while the file was written.
            if saved.says(&core.in_file(state.clone())) {
                let (_, names) = core.kernel_names(&saved.config).await?;
                core.change(state, Some(saved.config)).await?;
                core.keep_names(names);
                drop(core);
                return file.keep(draft).await;
            }
        }
        Err(ApiError::conflict(format!(
            "{}: the running state changes while it is saved",
            file.name()
        )))
    }

    /// Rereads the file and applies the difference.
    async fn reload_file(&self) -> Done<Plan> {
        let file = self.file.turn().await?;
        let config = file.load().await?;
        self.core().await.reload(config).await
    }
}

#[async_trait]
impl Controller for Handle {
    async fn status(&self) -> Done<Status> {
        self.core().await.status()
    }

    async fn attach(
        &self,
        interface: String,
        request: AttachInterface,
        save: bool,
    ) -> Done<Interface> {
        let interface = {
            let mut core = self.core().await;
            core.edit().attach(&interface)?;
            let interface = core.links.require(&interface).await?;
            if let Some(mode) = request.mode {
                core.links.choose_mode(&interface, mode);
            }
            interface
        };
        let name = interface.clone();
        let core = match self.change(save, move |core| core.edit().attach(&name)).await {
            Ok(core) => core,
            Err(error) => {
                // The driver may have refused it: remove the NIC from the state again.
                self.core().await.abandon(&interface).await?;
                return Err(error);
            }
        };
        let reading = core.read_quickly()?;
        let found = core.interfaces(&reading).into_iter().find(|view| view.name == interface);
        found.ok_or_else(|| ApiError::failed(format!("interface {interface}: gone meanwhile")))
    }

    async fn detach(&self, interface: String, save: bool) -> Done<()> {
        let interface = {
            let core = self.core().await;
            core.links.running_name(interface, core.state()).await?
        };
        self.change(save, move |core| core.edit().detach(&interface)).await.map(drop)
    }

    async fn service(&self, service: String) -> Done<types::Service> {
        let core = self.core().await;
        core.shown_service(&service, &core.read()?)
    }

    async fn put_service(
        &self,
        name: String,
        request: PutService,
        replace: bool,
        save: bool,
    ) -> Done<types::Service> {
        let wanted = name.clone();
        let edit = move |core: &Core| core.edit().put_service(&wanted, &request, replace);
        let core = self.change(save, edit).await?;
        core.shown_service(&name, &core.read_quickly()?)
    }

    async fn patch_service(
        &self,
        service: String,
        request: PatchService,
        save: bool,
    ) -> Done<types::Service> {
        let name = service.clone();
        let edit = move |core: &Core| core.edit().patch_service(&name, &request);
        let core = self.change(save, edit).await?;
        core.shown_service(&service, &core.read_quickly()?)
    }

    async fn delete_service(&self, service: String, save: bool) -> Done<()> {
        self.change(save, move |core| core.edit().remove_service(&service)).await.map(drop)
    }

    async fn backend(&self, service: String, backend: String) -> Done<types::Backend> {
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
    ) -> Done<types::Backend> {
        let (of, wanted) = (service.clone(), name.clone());
        let edit = move |core: &Core| core.edit().put_backend(&of, &wanted, &request, replace);
        self.change(save, edit).await?.shown_backend_quickly(&service, &name)
    }

    async fn patch_backend(
        &self,
        service: String,
        backend: String,
        request: PatchBackend,
        save: bool,
    ) -> Done<types::Backend> {
        let (of, wanted) = (service.clone(), backend.clone());
        let edit = move |core: &Core| core.edit().patch_backend(&of, &wanted, &request);
        self.change(save, edit).await?.shown_backend_quickly(&service, &backend)
    }

    async fn delete_backend(&self, service: String, backend: String, save: bool) -> Done<()> {
        let edit = move |core: &Core| core.edit().remove_backend(&service, &backend);
        self.change(save, edit).await.map(drop)
    }

    async fn manager(&self) -> Done<ManagerReport> {
        Ok(self.core().await.manager_report())
    }

    async fn patch_manager(&self, request: PatchManager, save: bool) -> Done<ManagerReport> {
        let core = self.change(save, move |core| core.edit().patch_manager(&request)).await?;
        Ok(core.manager_report())
    }

    async fn connections(&self, query: ConnectionQuery) -> Done<Connections> {
        let search = self.core().await.search(&query)?;
        // To walk a large table takes long: release the core, and use a thread of its own.
        tokio::task::spawn_blocking(move || search.run())
            .await
            .map_err(|e| ApiError::failed(format!("the search was interrupted: {e}")))?
    }

    async fn plan(&self, other: Option<PlanSource>) -> Done<Plan> {
        let config = match other {
            Some(PlanSource { file, text }) => self.posted.parse(text, file).await?,
            None => self.file.turn().await?.load().await?,
        };
        let planned = self.core().await.planned(&config).await?;
        Ok(shown_plan(planned.changes, planned.settings, planned.notes))
    }

    async fn events(&self, service: Option<String>) -> Done<Events> {
        let core = self.core().await;
        let named = |wanted: String| {
            edit::find_service(core.state(), &wanted).map(|service| service.config.name.clone())
        };
        let service = service.map(named).transpose()?;
        Ok(Events { receiver: core.reports.events().subscribe(), service })
    }

    async fn reload(&self) -> Done<Plan> {
        let result = self.reload_file().await;
        self.core().await.reports.end_reload(&result);
        result
    }
}

impl Core {
    /// An editor for changes of the running state.
    fn edit(&self) -> Edit<'_> {
        Edit {
            state: self.state(),
            retired: &self.store.retired_slots,
            now_ms: clock::epoch_ms(),
            rings: self.rings,
        }
    }

    /// Carries out a change by hand; `applied` is the new content of the file if the change is also saved.
    async fn change(&mut self, state: State, applied: Option<Config>) -> Done<()> {
        let change = self.change_to(state);
        log_changes(&reconcile::plan(&change));
        self.carry_out(change, applied, Cause::Hand).await
    }

    /// Removes a NIC that could not be attached.
    async fn abandon(&mut self, interface: &str) -> Done<()> {
        match self.edit().detach(interface) {
            Ok(without) if !self.in_force => self.commit(without, None, Cause::Hand).await,
            // It is attached, but not saved; or nothing has changed yet.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The change that a configuration would make, and the resulting state.
    async fn planned(&self, config: &Config) -> Done<Planned> {
        let (named, names) = self.kernel_names(config).await?;
        let applied = self.applied_names();
        let retired = &self.store.retired_slots;
        let wanted =
            reconcile::merge(Some(&applied), &named, self.state(), retired, clock::epoch_ms())?;
        let change = self.change_to(wanted);
        let changes = reconcile::plan(&change);
        let mut settings = reconcile::plan_settings(&self.store.applied, config);
        let waiting = self.waiting(config).into_iter();
        let is_new = |line: &PlanLine| settings.iter().all(|known| known.field != line.field);
        settings.extend(waiting.filter(is_new).collect::<Vec<_>>());
        let notes = self.links.stale_names(&names, &self.reports.config().file);
        Ok(Planned { change, changes, settings, notes, names })
    }

    /// Applies the difference between the running state and the present file.
    async fn reload(&mut self, config: Config) -> Done<Plan> {
        let Planned { change, changes, settings, notes, names } = self.planned(&config).await?;
        log_changes(&changes);
        self.carry_out(change, Some(config), Cause::File).await?;
        self.keep_names(names);
        let (links, store, _, events) = self.links();
        links.add_missed_vips(store, events).await;
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let plan = shown_plan(changes, settings, notes);
        self.reports.events().log_and_send(EventKind::Reloaded { changes: plan.changes.len() });
        Ok(plan)
    }

    fn shown_service(&self, wanted: &str, reading: &Reading) -> Done<types::Service> {
        let service: &Service = edit::find_service(self.state(), wanted)?;
        Ok(self.service_view(service, reading))
    }

    /// A backend after a change: reads only its own counters.
    fn shown_backend_quickly(&self, service: &str, backend: &str) -> Done<types::Backend> {
        let service = edit::find_service(self.state(), service)?;
        let backend = edit::find_backend(service, backend)?;
        Ok(self.backend_view(backend, &self.read_backend(backend.slot)?))
    }

    fn shown_backend(
        &self,
        service: &str,
        backend: &str,
        reading: &Reading,
    ) -> Done<types::Backend> {
        let service = edit::find_service(self.state(), service)?;
        let backend = edit::find_backend(service, backend)?;
        Ok(self.backend_view(backend, reading))
    }
}

/// The effects of applying a configuration.
struct Planned {
    /// The change of the running state.
    change: Change,
    /// The same for NICs and services, one item per line.
    changes: Vec<PlanLine>,
    /// Other changes.
    settings: Vec<PlanLine>,
    /// Problems with names of NICs.
    notes: Vec<String>,
    /// NICs that have another name in the file than in the kernel.
    names: Vec<NicName>,
}

fn shown_plan(changes: Vec<PlanLine>, settings: Vec<PlanLine>, names: Vec<String>) -> Plan {
    let (notes, settings): (Vec<_>, Vec<_>) =
        settings.into_iter().partition(|line| line.note.is_some());
    Plan {
        notes: notes.iter().map(ToString::to_string).chain(names).collect(),
        changes: changes.into_iter().chain(settings).map(Into::into).collect(),
    }
}

fn log_changes(changes: &[PlanLine]) {
    for change in changes {
        tracing::info!("{change}");
    }
}
