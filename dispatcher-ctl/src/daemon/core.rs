//! The core of the daemon: what runs, and how a change of it reaches the kernel.
//!
//! Every change, from the file or by hand, takes one path ([`Core::carry_out`]):
//!
//! 1. the new state is made and validated as a value; nothing is touched while that can fail;
//! 2. it is saved beside the pinned maps, in one step ([`super::store`]);
//! 3. the maps are made to say it, in an order that is safe at every step ([`crate::datapath`]);
//! 4. NICs and VIPs follow.
//!
//! Killed after step 1, nothing happened; killed later, the next controller finds what was saved and does the rest: steps
//! 3 and 4 compare what is with what should be and write the difference, so they may be done again from anywhere.
//!
//! What a change must rewrite is its [`Dirty`] part. Where that is only words of some services and all else is known to be in
//! force, steps 3 and 4 look at nothing else, so that the cost does not depend on how many other services there are.

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
    model::{Config, NicName, OnDown, Record, RetiredSlot, Service, State},
    network::Network,
    reconcile::{Change, Dirty},
};

/// How long a change waits for the MACs of backends it brought, before it is published without them.
pub(super) const RESOLVE_WAIT: Duration = Duration::from_millis(300);

/// Everything the daemon knows and holds.
#[derive(Debug)]
pub(super) struct Core {
    /// What the next controller will find.
    pub(super) record: Store,
    /// Slots of all schedules of what runs, as they are counted for a check.
    pub(super) rings: usize,
    /// Whether kernel and network say what the record says, as far as is known.
    pub(super) in_force: bool,
    /// Whether a change has left memory behind that is worth giving back.
    pub(super) is_untidy: bool,
    /// The datapath, its table and counters.
    pub(super) plane: Plane,
    /// How long a change waits for the MACs of backends it brought.
    pub(super) resolve_wait: Duration,
    /// NICs, VIPs and next hops.
    pub(super) links: Links,
    /// Which state each backend is in, and why.
    pub(super) health: Health,
    /// The manager, and backends that ramp up.
    pub(super) weights: Weights,
    /// What is told, and what of it was told last.
    pub(super) reports: Reports,
}

impl Core {
    /// Puts the rooms together; nothing is written yet.
    pub(super) fn new(
        file: &Path,
        record: Record,
        datapath: Datapath,
        network: Network,
        advisors: Advisors,
        problems: Problems,
        is_takeover: bool,
    ) -> Result<Self, ApiError> {
        let rings = record.state.services.iter().map(|s| check::ring_slots_in_force(s)).sum();
        let documents = datapath.saved_documents();
        let plane = Plane::new(datapath, &record)?;
        let record = Store::new(record, documents);
        Ok(Self {
            record,
            rings,
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

    /// What runs.
    pub(super) fn state(&self) -> &State {
        &self.record.state
    }

    /// The links, with all that they work on.
    pub(super) fn links(&mut self) -> (&mut Links, &mut Store, &mut Datapath, &Events) {
        let Self { links, record, plane, reports, .. } = self;
        (links, record, plane.datapath_mut(), reports.events())
    }

    /// The change that makes a state follow what runs.
    pub(super) fn change_to(&self, state: State) -> Change {
        Change::new(self.state(), state, clock::epoch_ms())
    }

    /// As [`Core::carry_out`], of the change to this state.
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

    /// Carries out a change of what runs, makes a configuration the one last applied, and tells what that changes.
    ///
    /// # Errors
    /// Where the kernel refuses. The record then says what was wanted; the next try goes on from there.
    pub(super) async fn carry_out(
        &mut self,
        change: Change,
        applied: Option<Config>,
        cause: Cause,
    ) -> Result<(), ApiError> {
        let interface_names = numbered(&self.record.interface_names, change.state())?;
        let gone = gone(&change);
        let dirty = self.dirty(&change, applied.as_ref());
        self.record.commit(|record| {
            record.state = change.state().clone();
            if let Some(applied) = applied {
                record.applied = applied;
            }
            record.interface_names = interface_names;
            record.retired_slots.extend(&gone);
        })?;
        self.rings = rings(self.rings, &change);
        self.tell_changes(&change, cause);
        self.plane.follow(&change, &gone);
        self.enforce(&dirty).await
    }

    /// What a change must rewrite: everything, unless everything that it does not concern is in force.
    fn dirty(&self, change: &Change, applied: Option<&Config>) -> Dirty {
        let is_rest_in_force = self.in_force
            && self.links.nics().are_attached()
            && applied.is_none_or(|applied| self.record.applied.settings == applied.settings);
        if is_rest_in_force { change.dirty().clone() } else { Dirty::All }
    }

    /// What follows beside the kernel from a change of what ran.
    fn tell_changes(&mut self, change: &Change, cause: Cause) {
        self.reports.events().exits().set(&self.record.applied.exits);
        // In the record it has happened, even where the kernel is yet to follow.
        self.reports.report_change(change, cause);
    }

    /// Makes kernel and network say what the record says, as far as it is dirty. NICs, VIPs and advisors have nothing to follow
    /// where only words of services are.
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
        // Last: a backend on this host has its VIP by then, and its first probe an answer.
        self.health.follow(&self.record.state, self.links.prober());
        self.in_force = attached.is_ok() && self.links.has_placed_vips(&self.record);
        self.is_untidy = true;
        attached
    }

    /// A configuration with the kernel's names of its NICs, and which of them it calls otherwise.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) async fn kernel_names<'c>(
        &self,
        config: &'c Config,
    ) -> Result<(Cow<'c, Config>, Vec<NicName>), ApiError> {
        self.links.kernel_names(config, &self.record.nic_names).await
    }

    /// A state with its NICs named as the file names them.
    pub(super) fn in_file(&self, state: State) -> State {
        self.links.as_in_file(state, &self.record.nic_names)
    }

    /// The file as last applied, with the kernel's names of its NICs.
    pub(super) fn applied_names(&self) -> Cow<'_, Config> {
        with_names(&self.record.applied, &self.record.nic_names)
    }

    /// Keeps which NICs the file calls otherwise than the kernel.
    pub(super) fn keep_names(&mut self, names: Vec<NicName>) {
        if self.record.nic_names != names {
            self.record.note(|record| record.nic_names.clone_from(&names));
        }
    }

    /// Takes everything away. Without a daemon, `dispatcher detach --all` does the same.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) async fn dismantle(&mut self) -> Result<(), ApiError> {
        let (links, store, _, events) = self.links();
        links.give_back(store, events).await;
        self.plane.datapath().remove()?;
        tracing::info!("detached");
        Ok(())
    }
}

/// Slots of all schedules after a change of services; `before` is their number before it.
fn rings(before: usize, change: &Change) -> usize {
    let of = |service: Option<&Service>| service.map_or(0, check::ring_slots_in_force);
    let (was, is) = change.pairs().fold((0, 0), |(a, b), (was, is)| (a + of(was), b + of(is)));
    (before + is).saturating_sub(was)
}

/// Slots of backends that a change removes: they are kept from being given out again.
fn gone(change: &Change) -> Vec<RetiredSlot> {
    let mut gone = Vec::new();
    for (service, after) in change.pairs() {
        let Some(service) = service else { continue };
        let after = after.iter().flat_map(|after| &after.backends);
        let stays: HashSet<u32> = after.map(|backend| backend.slot).collect();
        for backend in &service.backends {
            if !stays.contains(&backend.slot) {
                // Its clients are told when they send something, however late.
                let is_told = service.config.on_down == OnDown::Reset;
                let lingers = if is_told { service.config.stale_timeout } else { Duration::ZERO };
                gone.push(RetiredSlot { slot: backend.slot, service: service.id, lingers });
            }
        }
    }
    gone
}

/// Gives every NIC of the state a number (its place), and takes back those no longer used.
fn numbered(names: &[String], state: &State) -> Result<Vec<String>, ApiError> {
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
