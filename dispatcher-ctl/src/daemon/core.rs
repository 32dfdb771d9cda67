//! The daemon's heart: what runs, and how a change of it reaches the kernel.
//!
//! Every change, from the file or by hand, takes one way ([`Core::commit`]):
//!
//! 1. the new state is made and validated as a value; nothing is touched while that can fail;
//! 2. it is saved beside the pinned maps, in one step ([`super::store`]);
//! 3. the maps are made to say it, in an order that is safe at every step ([`crate::dataplane`]);
//! 4. NICs and VIPs follow.
//!
//! Killed after step 1, nothing happened; killed later, the next controller finds what was saved and does the rest: steps
//! 3 and 4 compare what is with what should be and write the difference, so they may be done again from anywhere.
//!
//! What a change must rewrite is its [`Dirty`] part. Where that is only words of some services and all else is known to be in
//! force, steps 3 and 4 look at nothing else, so that the cost does not depend on how many other services there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use dispatcher_common::limits::MAX_INTERFACES;

use super::{
    advice::Advised,
    affinity::Cleaner,
    answers::Answers,
    clock,
    counts::Counts,
    events::{Cause, Events, Health, changes},
    manage::Managing,
    neighbours::Neighbours,
    nics::Nic,
    passive::Windows,
    probes::Probes,
    problems::Problems,
    quiesce::Draining,
    refused::RefusedPackets,
    resume::Resumed,
    rules::Rates,
    start::failed,
    store::Store,
    vips::Vips,
};
use crate::{
    advisor::Advisors,
    api::types::{ApiError, ConfigStatus, EventKind},
    config::check,
    dataplane::{
        CounterReader, Counters, Datapath,
        connections::{ConnectionTable, Sweeper},
    },
    model::{Config, OnDown, Record, RetiredSlot, Service, State, XdpMode},
    network::{Network, shortages},
    reconcile::{Change, Dirty},
    schedule::Schedules,
};

/// How long a change waits for the MACs of backends it brought, before it is published without them.
pub(super) const RESOLVE_WAIT: Duration = Duration::from_millis(300);

/// Neighbours for which the kernel's table has room in any case: half of what it may hold by default.
const MANY_NEIGHBOURS: usize = 512;

/// Counters that were read so lately are not read again.
const RECENT: Duration = Duration::from_millis(100);

/// Everything the daemon knows and holds.
#[derive(Debug)]
pub(super) struct Core {
    /// What the next controller will find.
    pub(super) record: Store,
    /// Slots of all schedules of what runs, as they are counted for a check.
    pub(super) rings: usize,
    /// Schedules as last made.
    pub(super) schedules: Schedules,
    /// Whether kernel and network say what the record says, as far as is known.
    pub(super) in_force: bool,
    /// Whether a change has left memory behind that is worth giving back.
    pub(super) is_untidy: bool,
    pub(super) datapath: Datapath,
    pub(super) table: Arc<ConnectionTable>,
    pub(super) counters: CounterReader,
    /// Counters as last read by one of those who look at them in turn.
    recent: Option<(Instant, Arc<Counters>)>,
    pub(super) sweeper: Sweeper,
    pub(super) cleaner: Cleaner,
    pub(super) network: Network,
    pub(super) advised: Advised,
    pub(super) managing: Managing,
    pub(super) probes: Probes,
    /// NICs that are wanted, by name.
    pub(super) nics: BTreeMap<String, Nic>,
    /// Modes of NICs that are not attached as configured: by hand, or found so.
    pub(super) modes: HashMap<String, XdpMode>,
    /// How long a change waits for the MACs of backends it brought.
    pub(super) resolve_wait: Duration,
    /// Addresses whose MACs are being followed.
    watched: BTreeSet<IpAddr>,
    /// VIPs on NICs.
    pub(super) vips: Vips,
    /// NICs without the datapath that answer for VIPs.
    pub(super) answers: Answers,
    /// What was last said of each backend without traffic, to say it once.
    pub(super) reported: HashMap<u32, String>,
    /// Tells what happens.
    pub(super) events: Events,
    /// Which backends are up, as last told.
    pub(super) health: Health,
    /// Where backends' addresses were last told to be.
    pub(super) neighbours: Neighbours,
    /// Connections that quiesced backends had left, as last told.
    pub(super) draining: Draining,
    /// Counters of the past, and rates.
    pub(super) counts: Counts,
    /// Rates that rules go by.
    pub(super) rates: Rates,
    /// Handshakes that fail, window by window.
    pub(super) windows: Windows,
    /// Redirects that NICs refused.
    pub(super) refused: RefusedPackets,
    /// When the controller last stood still.
    pub(super) resumed: Resumed,
    pub(super) problems: Problems,
    pub(super) config_status: ConfigStatus,
    pub(super) weight_updates: u64,
    /// Since when more connections have been half-open than `syn_guard`, if they are; seconds since the epoch.
    pub(super) guarded_since: Option<f64>,
    /// When the daemon started, in seconds since the epoch.
    pub(super) started: f64,
}

impl Core {
    /// Puts the parts together; nothing is written yet.
    pub(super) fn new(
        file: &Path,
        record: Record,
        datapath: Datapath,
        network: Network,
        advisors: Advisors,
        problems: Problems,
    ) -> Result<Self, ApiError> {
        let table = datapath.table().map_err(|e| failed(&e))?;
        let timeouts = super::publish::timeouts(&record);
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts).map_err(|e| failed(&e))?;
        let counters = datapath.counters();
        let cleaner = Cleaner::new(datapath.affinity_records());
        // Slots that an earlier controller retired: only a sweep from now on can say that they are free.
        let mut counts = Counts::default();
        record.retired_slots.iter().for_each(|r| counts.retire(r.slot, clock::now()));
        let rings = record.state.services.iter().map(|s| check::ring_slots_in_force(s)).sum();
        let record = Store::new(record, datapath.saved_documents());
        let config_status = ConfigStatus {
            file: file.display().to_string(),
            reload_success: true,
            last_reload: clock::epoch_seconds(),
            note: None,
        };
        Ok(Self {
            record,
            rings,
            schedules: Schedules::default(),
            in_force: false,
            is_untidy: false,
            datapath,
            table,
            counters,
            recent: None,
            sweeper,
            cleaner,
            network,
            advised: Advised::new(advisors),
            managing: Managing::default(),
            probes: Probes::default(),
            nics: BTreeMap::new(),
            modes: HashMap::new(),
            resolve_wait: RESOLVE_WAIT,
            watched: BTreeSet::new(),
            vips: Vips::default(),
            answers: Answers::default(),
            reported: HashMap::new(),
            events: Events::default(),
            health: Health::default(),
            neighbours: Neighbours::default(),
            draining: Draining::default(),
            counts,
            rates: Rates::default(),
            windows: Windows::default(),
            refused: RefusedPackets::default(),
            resumed: Resumed::default(),
            problems,
            config_status,
            weight_updates: 0,
            guarded_since: None,
            started: clock::epoch_seconds(),
        })
    }

    /// What runs.
    pub(super) fn state(&self) -> &State {
        &self.record.state
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
        for retired in &gone {
            self.counts.retire(retired.slot, clock::now());
        }
        self.enforce(&dirty).await
    }

    /// What a change must rewrite: everything, unless everything that it does not concern is in force.
    fn dirty(&self, change: &Change, applied: Option<&Config>) -> Dirty {
        let is_rest_in_force = self.in_force
            && self.nics.values().all(Nic::is_attached)
            && applied.is_none_or(|applied| has_same_settings(&self.record.applied, applied));
        if is_rest_in_force { change.dirty().clone() } else { Dirty::All }
    }

    /// What follows beside the kernel from a change of what ran.
    fn tell_changes(&mut self, change: &Change, cause: Cause) {
        self.events.exits().set(&self.record.applied.exits);
        for (_, new) in change.pairs().filter(|(was, _)| was.is_none()) {
            // What former backends of its id had counted. (The datapath's own counters begin at 0 when it is published.)
            new.iter().for_each(|new| self.counts.forget(new.id));
        }
        // In the record it has happened, even where the kernel is yet to follow. The log says it line by line, as a plan.
        for event in changes(change, cause) {
            self.weight_updates += u64::from(matches!(event, EventKind::WeightChanged { .. }));
            self.events.tell_readers(event);
        }
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
        self.adopt_nics();
        // NICs that are attached are followed by the kernel's reports: only others need a look.
        if self.nics.values().any(|nic| !nic.is_attached()) {
            let links = self.network.links().await.map_err(|e| failed(&e))?;
            self.take_links(links);
        }
        if self.watch_backends() {
            self.network.settled(self.resolve_wait).await;
        }
        self.publish(dirty)?;
        let attached = self.attach_nics();
        self.place_vips(false).await;
        self.vips.look_soon();
        self.follow_probes().await;
        // Last: a backend on this host has its VIP by then, and its first probe an answer.
        self.advised.follow(&self.record.state, &self.probes.prober);
        self.in_force = attached.is_ok() && self.has_placed_vips();
        self.is_untidy = true;
        attached
    }

    /// Follows the MACs of the backends there are. Says whether that set has changed.
    pub(super) fn watch_backends(&mut self) -> bool {
        let addresses = self.followed_addresses();
        let grown = !addresses.is_subset(&self.watched);
        if grown && addresses.len() > self.watched.len() {
            for shortage in shortages(&addresses) {
                tracing::warn!("{}; hint: {}", shortage.error(), shortage.hint());
            }
        }
        self.watched.clone_from(&addresses);
        self.neighbours.retain(&addresses);
        self.network.watch(addresses, self.watched_nics());
        grown
    }

    /// Addresses whose neighbours are followed: each has an entry of the kernel's neighbour table, which is small. Where there are
    /// many, those do without that need none: their MAC is configured, and the NIC is the only one.
    fn followed_addresses(&self) -> BTreeSet<IpAddr> {
        let remote = || self.state().backends().filter(|b| !b.config.local);
        let all: BTreeSet<IpAddr> = remote().map(|b| b.config.address).collect();
        if all.len() <= MANY_NEIGHBOURS || self.nics.len() != 1 {
            return all;
        }
        remote().filter(|b| b.config.mac.is_none()).map(|b| b.config.address).collect()
    }

    /// Gives back the slots of removed backends that no connection and no affinity record points to any more.
    pub(super) fn release_slots(&mut self) -> Result<(), ApiError> {
        let sweep = self.sweeper.latest();
        let unused = |r: &RetiredSlot| {
            self.counts.retired_before(r.slot, sweep.started) && sweep.slot(r.slot).total() == 0
        };
        let retired = &self.record.retired_slots;
        let waiting = retired.iter().filter(|r| unused(r)).map(|r| r.slot).collect();
        self.cleaner.turn(&self.record.state, waiting).map_err(|e| failed(&e))?;
        let (released, kept): (Vec<_>, Vec<_>) =
            retired.iter().copied().partition(|r| self.cleaner.is_cleared(r.slot));
        if released.is_empty() {
            return Ok(());
        }
        let counters = self.counters.read(&self.record.retired_slots).map_err(|e| failed(&e))?;
        self.record.commit(|record| record.retired_slots = kept)?;
        // The slot's counters stay as they are, read by nobody, until a backend is published there.
        for retired in released {
            self.counts.fold(retired, counters.backend(retired.slot));
        }
        Ok(())
    }

    /// Takes a sample of the counters, for rates.
    pub(super) fn sample_rates(&mut self) -> Result<(), ApiError> {
        if self.counts.is_due(clock::now()) {
            let (at, counters) = self.recent_counters()?;
            self.counts.sample(at, counters.backends.clone());
        }
        Ok(())
    }

    /// Counters as they were a moment ago, and when: what looks at them in turn reads them once. Those of retired slots are
    /// among them.
    pub(super) fn recent_counters(&mut self) -> Result<(Instant, Arc<Counters>), ApiError> {
        let now = clock::now();
        if let Some((at, counters)) = &self.recent
            && now.saturating_duration_since(*at) < RECENT
        {
            return Ok((*at, Arc::clone(counters)));
        }
        let counters = self.counters.read(&self.record.retired_slots).map_err(|e| failed(&e))?;
        let counters = Arc::new(counters);
        self.recent = Some((now, Arc::clone(&counters)));
        Ok((now, counters))
    }
}

/// Whether two files say the same but for services.
fn has_same_settings(was: &Config, is: &Config) -> bool {
    let settings = |config: &Config| Config { services: Vec::new(), ..config.clone() };
    settings(was) == settings(is)
}

/// Slots of all schedules after a change of services, before which there were so many.
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
