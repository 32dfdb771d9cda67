//! The core of the daemon: holds the running state and carries changes of it to the kernel.
//!
//! Every change, from the file or by hand, takes one path ([`Core::carry_out`]):
//!
//! 1. build and validate the new state as a value; nothing is touched while this can fail;
//! 2. save it next to the pinned maps, in one step ([`super::store`]);
//! 3. write it to the maps, in an order that is safe at every step ([`crate::datapath`]);
//! 4. update NICs and VIPs.
//!
//! If the controller is killed in step 1, nothing happened. If it is killed later, the next controller finds the saved state
//! and does the rest: steps 3 and 4 compare the present with the desired state and write the difference, so they can be
//! repeated at any time.
//!
//! What a change must rewrite is its [`Dirty`] part. If only words of some services are dirty and all else is known to be in
//! force, steps 3 and 4 look at those services alone. Then the cost does not depend on the number of other services.

use std::{borrow::Cow, collections::HashSet, path::Path, time::Duration};

use dispatcher_common::limits::MAX_INTERFACES;

use super::{
    clock,
    health::Health,
    links::{Links, with_names},
    plane::Plane,
    reports::{Cause, Events, Problems, Reports},
    store::Store,
    weights::Weights,
};
use crate::{
    advisor::Advisors,
    api::types::ApiError,
    config::check,
    datapath::Datapath,
    model::{Config, GlobalSettings, NicName, OnDown, RetiredSlot, SavedState, Service, State},
    network::Network,
    reconcile::{self, Change, Dirty, PlanLine},
};

/// How long a change waits for the MACs of new backends, before it is published without them.
pub(super) const RESOLVE_WAIT: Duration = Duration::from_millis(300);

/// Everything the daemon knows and holds.
#[derive(Debug)]
pub(super) struct Core {
    /// The saved state, which the next controller reads.
    pub(super) store: Store,
    /// Slots that all schedules of the running state take, as the check counts them.
    pub(super) rings: usize,
    /// The global settings with which this daemon and its datapath were started.
    pub(super) started_with: GlobalSettings,
    /// Whether kernel and network agree with the saved state, as far as is known.
    pub(super) in_force: bool,
    /// Whether a change freed memory that should be returned to the system.
    pub(super) is_untidy: bool,
    /// The datapath, its table and counters.
    pub(super) plane: Plane,
    /// How long a change waits for the MACs of new backends.
    pub(super) resolve_wait: Duration,
    /// NICs, VIPs and next hops.
    pub(super) links: Links,
    /// The state of each backend, and its reason.
    pub(super) health: Health,
    /// The manager, and backends that ramp up.
    pub(super) weights: Weights,
    /// Events, exits and problems, and what was last reported.
    pub(super) reports: Reports,
}

impl Core {
    /// Makes the core from its rooms; nothing is written yet.
    pub(super) fn new(
        file: &Path,
        saved: SavedState,
        datapath: Datapath,
        network: Network,
        advisors: Advisors,
        problems: Problems,
        is_takeover: bool,
    ) -> Result<Self, ApiError> {
        let rings = saved.state.services.iter().map(|s| check::ring_slots_in_force(s)).sum();
        let documents = datapath.saved_documents();
        let plane = Plane::new(datapath, &saved)?;
        let started_with = saved.applied.settings.clone();
        let store = Store::new(saved, documents);
        Ok(Self {
            store,
            rings,
            started_with,
            in_force: false,
            is_untidy: false,
            plane,
            resolve_wait: RESOLVE_WAIT,
            links: Links::new(network),
            health: Health::new(advisors, is_takeover),
            weights: Weights::default(),
            reports: Reports::new(file, problems),
        })
    }

    /// The running state.
    pub(super) fn state(&self) -> &State {
        &self.store.state
    }

    /// The links, with everything they work on.
    pub(super) fn links(&mut self) -> (&mut Links, &mut Store, &mut Datapath, &Events) {
        let Self { links, store, plane, reports, .. } = self;
        (links, store, plane.datapath_mut(), reports.events())
    }

    /// The change from the running state to another one.
    pub(super) fn change_to(&self, state: State) -> Change {
        Change::new(self.state(), state, clock::epoch_ms())
    }

    /// As [`Core::carry_out`], with the change to this state.
    ///
    /// # Errors
    /// As [`Core::carry_out`].
    pub(super) async fn commit(
        &mut self,
        state: State,
        applied: Option<Config>,
        cause: Cause,
    ) -> Result<(), ApiError> {
        self.carry_out(self.change_to(state), applied, cause).await
    }

    /// Carries out a change of the running state, records the configuration as last applied, and reports the change.
    ///
    /// # Errors
    /// When the kernel refuses. The saved state then holds the desired state; the next try continues from there.
    pub(super) async fn carry_out(
        &mut self,
        change: Change,
        applied: Option<Config>,
        cause: Cause,
    ) -> Result<(), ApiError> {
        let interface_names = number_nics(&self.store.interface_names, change.state())?;
        let gone = removed_slots(&change);
        let dirty = self.dirty(&change, applied.as_ref());
        self.store.commit(|saved| {
            saved.state = change.state().clone();
            if let Some(applied) = applied {
                saved.applied = applied;
            }
            saved.interface_names = interface_names;
            saved.retired_slots.extend(&gone);
        })?;
        self.rings = ring_slots_after(self.rings, &change);
        self.report_change(&change, cause);
        self.plane.follow(&change, &gone);
        self.enforce(&dirty).await
    }

    /// What a change must rewrite: only what it concerns if all else is in force, otherwise everything.
    fn dirty(&self, change: &Change, applied: Option<&Config>) -> Dirty {
        let is_rest_in_force = self.in_force
            && self.links.nics().are_attached()
            && applied.is_none_or(|applied| self.store.applied.settings == applied.settings);
        if is_rest_in_force { change.dirty().clone() } else { Dirty::All }
    }

    /// Effects of a change outside the kernel.
    fn report_change(&mut self, change: &Change, cause: Cause) {
        self.reports.events().exits().set(&self.store.applied.exits);
        // The saved state already has the change, even if the kernel does not yet.
        self.reports.report_change(change, cause);
    }

    /// Makes kernel and network agree with the saved state, as far as it is dirty. If only words of services are dirty,
    /// NICs, VIPs and advisors do not change.
    ///
    /// # Errors
    /// Where the kernel refuses.
    async fn enforce(&mut self, dirty: &Dirty) -> Result<(), ApiError> {
        if *dirty != Dirty::All {
            return self.publish(dirty);
        }
        self.in_force = false;
        let resolve_wait = self.resolve_wait;
        let (links, store, datapath, events) = self.links();
        links.adopt(store, datapath, events).await?;
        links.resolve(&store.state, resolve_wait).await;
        self.publish(dirty)?;
        let (links, store, datapath, events) = self.links();
        let attached = links.attach(datapath, events);
        links.place_vips(store, events, false).await;
        links.check_vips_soon();
        links.follow_probes(datapath, store).await;
        // Last: by then a backend on this host has its VIP, so its first probe gets an answer.
        self.health.follow(&self.store.state, self.links.prober());
        self.in_force = attached.is_ok() && self.links.has_placed_vips(&self.store);
        self.is_untidy = true;
        attached
    }

    /// A configuration with the kernel's names of its NICs, and the NICs that have another name in it.
    pub(super) async fn kernel_names<'c>(
        &self,
        config: &'c Config,
    ) -> Result<(Cow<'c, Config>, Vec<NicName>), ApiError> {
        self.links.kernel_names(config, &self.store.nic_names).await
    }

    /// Settings of a file that wait: they take effect at the next start, or when a NIC is next attached.
    pub(super) fn waiting(&self, file: &GlobalSettings) -> Vec<PlanLine> {
        let mut lines = reconcile::plan_settings(&self.started_with, file);
        let has_other_mode = self.links.nics().has_other_mode(file.xdp_mode);
        lines.retain(|line| {
            line.note.is_some() && (line.field.as_deref() != Some("xdp_mode") || has_other_mode)
        });
        lines
    }

    /// A state with its NICs named as the file names them.
    pub(super) fn in_file(&self, state: State) -> State {
        self.links.as_in_file(state, &self.store.nic_names)
    }

    /// The file as last applied, with the kernel's names of its NICs.
    pub(super) fn applied_names(&self) -> Cow<'_, Config> {
        with_names(&self.store.applied, &self.store.nic_names)
    }

    /// Stores which NICs have another name in the file than in the kernel.
    pub(super) fn keep_names(&mut self, names: Vec<NicName>) {
        if self.store.nic_names != names {
            self.store.note(|saved| saved.nic_names.clone_from(&names));
        }
    }

    /// Removes everything. Without a daemon, `dispatcher detach --all` does the same.
    pub(super) async fn dismantle(&mut self) -> Result<(), ApiError> {
        let (links, store, _, events) = self.links();
        links.give_back(store, events).await;
        self.plane.datapath().remove()?;
        tracing::info!("detached");
        Ok(())
    }
}

/// Slots of all schedules after a change of services; `before` is their number before it.
fn ring_slots_after(before: usize, change: &Change) -> usize {
    let of = |service: Option<&Service>| service.map_or(0, check::ring_slots_in_force);
    let (was, is) = change.pairs().fold((0, 0), |(a, b), (was, is)| (a + of(was), b + of(is)));
    (before + is).saturating_sub(was)
}

/// Slots of backends that a change removes: they must not be reused yet.
fn removed_slots(change: &Change) -> Vec<RetiredSlot> {
    let mut gone = Vec::new();
    for (service, after) in change.pairs() {
        let Some(service) = service else { continue };
        let after = after.iter().flat_map(|after| &after.backends);
        let stays: HashSet<u32> = after.map(|backend| backend.slot).collect();
        for backend in &service.backends {
            if !stays.contains(&backend.slot) {
                // Its clients get an RST when they send something, however late.
                let is_told = service.config.on_down == OnDown::Reset;
                let lingers = if is_told { service.config.stale_timeout } else { Duration::ZERO };
                gone.push(RetiredSlot { slot: backend.slot, service: service.id, lingers });
            }
        }
    }
    gone
}

/// Gives every NIC of the state a number (its position), and frees numbers that are no longer used.
fn number_nics(names: &[String], state: &State) -> Result<Vec<String>, ApiError> {
    let mut names = names.to_vec();
    for name in &mut names {
        if !state.interfaces.contains(name) {
            name.clear();
        }
    }
    for name in &state.interfaces {
        if names.contains(name) {
            continue;
        }
        match names.iter_mut().find(|free| free.is_empty()) {
            Some(free) => free.clone_from(name),
            None => names.push(name.clone()),
        }
    }
    let most = MAX_INTERFACES as usize;
    if names.len() > most {
        let number = state.interfaces.len();
        return Err(ApiError::invalid(format!("{number} interfaces are more than {most}")));
    }
    Ok(names)
}
