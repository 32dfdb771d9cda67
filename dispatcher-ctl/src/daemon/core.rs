//! The daemon's heart: what runs, and how a change of it reaches the kernel.
//!
//! Every change, from the file or by hand, takes one way ([`Core::commit`]):
//!
//! 1. the new state is made and validated as a value; nothing is touched while that can fail;
//! 2. the record, which lives beside the pinned maps, is replaced by the new one in one step;
//! 3. the maps are made to say it, in an order that is safe at every step ([`crate::dataplane`]);
//! 4. NICs and VIPs follow.
//!
//! Killed after step 1, nothing happened; killed later, the next controller finds the new record and does the rest: steps
//! 3 and 4 compare what is with what should be and write the difference, so they may be done again from anywhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem::replace,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use dispatcher_common::{
    limits::{MAX_INTERFACES, MAX_SLOTS},
    net::address,
};

use super::{
    advice::Advised,
    affinity::Cleaner,
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
    record::RecordText,
    rules::Rates,
    start::failed,
};
use crate::{
    advisor::Advisors,
    api::types::{ApiError, ConfigStatus, EventKind},
    config,
    dataplane::{
        CounterReader, Datapath,
        connections::{ConnectionTable, ServiceTimeouts, Sweeper, Timeouts},
    },
    model::{Config, OnDown, Record, RetiredSlot, State, XdpMode},
    network::{Network, shortages},
    reconcile,
    schedule::Schedules,
};

/// How long a change waits for the MACs of backends it brought, before it is published without them.
pub(super) const RESOLVE_WAIT: Duration = Duration::from_millis(300);

/// Everything the daemon knows and holds.
#[derive(Debug)]
pub(super) struct Core {
    /// The configuration file.
    pub(super) file: PathBuf,
    /// What reads it.
    pub(super) reader: config::Reader,
    /// What the next controller will find.
    pub(super) record: Record,
    /// How it was last put into words.
    text: RecordText,
    /// Schedules as last made.
    schedules: Schedules,
    pub(super) datapath: Datapath,
    pub(super) table: Arc<ConnectionTable>,
    pub(super) counters: CounterReader,
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
    /// VIPs that this controller has seen to, by NIC.
    pub(super) placed: BTreeSet<(String, IpAddr)>,
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
        file: PathBuf,
        record: Record,
        datapath: Datapath,
        network: Network,
        advisors: Advisors,
        problems: Problems,
    ) -> Result<Self, ApiError> {
        let table = datapath.table().map_err(|e| failed(&e))?;
        let timeouts = timeouts(&record);
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts).map_err(|e| failed(&e))?;
        let counters = datapath.counters();
        let cleaner = Cleaner::new(datapath.affinity_records());
        // Slots that an earlier controller retired: only a sweep from now on can say that they are free.
        let mut counts = Counts::default();
        record.retired_slots.iter().for_each(|r| counts.retire(r.slot, clock::now()));
        let config_status = ConfigStatus {
            file: file.display().to_string(),
            reload_success: true,
            last_reload: clock::epoch_seconds(),
            note: None,
        };
        Ok(Self {
            file,
            reader: config::Reader::default(),
            record,
            text: RecordText::default(),
            schedules: Schedules::default(),
            datapath,
            table,
            counters,
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
            placed: BTreeSet::new(),
            reported: HashMap::new(),
            events: Events::default(),
            health: Health::default(),
            neighbours: Neighbours::default(),
            draining: Draining::default(),
            counts,
            rates: Rates::default(),
            windows: Windows::default(),
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

    /// Makes a state what runs, and a configuration the one last applied; tells what that changes.
    ///
    /// # Errors
    /// Where the kernel refuses. The record then says what was wanted; the next try goes on from there.
    pub(super) async fn commit(
        &mut self,
        mut state: State,
        applied: Option<Config>,
        cause: Cause,
    ) -> Result<(), ApiError> {
        reconcile::settle_weights(self.state(), &mut state, clock::epoch_ms());
        let interface_names = numbered(&self.record.interface_names, &state)?;
        let gone = gone(&self.record.state, &state);
        let former = self.take_in(state, applied, interface_names, &gone)?;
        self.forget_former(&former);
        self.events.exits().set(&self.record.applied.exits);
        // In the record it has happened, even where the kernel is yet to follow. The log says it line by line, as a plan.
        for change in changes(&former, self.state(), cause) {
            self.weight_updates += u64::from(matches!(change, EventKind::WeightChanged { .. }));
            self.events.tell_readers(change);
        }
        for retired in &gone {
            self.counts.retire(retired.slot, clock::now());
        }
        self.enforce().await
    }

    /// Replaces the record and keeps it; returns the state that ran before. Where it cannot be kept, nothing has changed.
    /// (Values are exchanged rather than copied: with thousands of backends that is most of the work.)
    fn take_in(
        &mut self,
        state: State,
        applied: Option<Config>,
        interface_names: Vec<String>,
        gone: &[RetiredSlot],
    ) -> Result<State, ApiError> {
        let record = &mut self.record;
        let retired = record.retired_slots.len();
        record.retired_slots.extend(gone);
        let names = replace(&mut record.interface_names, interface_names);
        let state = replace(&mut record.state, state);
        let applied = applied.map(|applied| replace(&mut record.applied, applied));
        let stored = self.store();
        if stored.is_err() {
            let record = &mut self.record;
            record.retired_slots.truncate(retired);
            record.interface_names = names;
            record.state = state;
            if let Some(applied) = applied {
                record.applied = applied;
            }
            return stored.map(|()| State::default());
        }
        Ok(state)
    }

    /// Makes kernel and network say what the record says.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) async fn enforce(&mut self) -> Result<(), ApiError> {
        self.adopt_nics();
        // NICs that are attached are followed by the kernel's reports: only others need a look.
        if self.nics.values().any(|nic| !nic.is_attached()) {
            let links = self.network.links().await.map_err(|e| failed(&e))?;
            self.take_links(links);
        }
        if self.watch_backends() {
            self.network.settled(self.resolve_wait).await;
        }
        self.publish()?;
        let attached = self.attach_nics();
        self.follow_probes().await;
        self.advised.follow(&self.record.state, &self.probes.prober);
        self.place_vips(false).await;
        attached
    }

    /// Writes the difference between what the maps hold and what they should hold.
    ///
    /// # Errors
    /// Where the kernel refuses, or the schedule pool is full.
    pub(super) fn publish(&mut self) -> Result<(), ApiError> {
        let nics = self.table_nics();
        let network = &self.network;
        let resolve = |address| network.resolution(address);
        let connections = &self.record.applied.connections;
        let schedules = &mut self.schedules;
        let mut tables =
            reconcile::tables(&self.record.state, connections, &nics, &resolve, schedules);
        reconcile::lingering(&self.record.retired_slots, &mut tables);
        if self.has_wildcards() {
            tables.own_addresses = network.own_addresses().into_iter().map(address).collect();
        }
        if !tables.rules.is_empty() {
            let active = self.active_rules(clock::local());
            for (id, rule) in &mut tables.rules {
                rule.active = active.get(id).copied().unwrap_or(rule.active);
            }
        }
        self.sweeper.set_timeouts(timeouts(&self.record));
        self.datapath.publish(&tables).map_err(|e| failed(&e))?;
        self.report_backends(&nics);
        Ok(())
    }

    /// Whether there are services on any address.
    pub(super) fn has_wildcards(&self) -> bool {
        self.state().services.iter().any(|service| service.config.vip.is_unspecified())
    }

    /// Follows the MACs of the backends there are. Says whether that set has changed.
    pub(super) fn watch_backends(&mut self) -> bool {
        let addresses: BTreeSet<IpAddr> =
            self.state().backends().filter(|b| !b.config.local).map(|b| b.config.address).collect();
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

    /// Keeps the record with the maps, in one step.
    pub(super) fn store(&mut self) -> Result<(), ApiError> {
        let bytes = self.text.bytes(&self.record).map_err(|e| failed(&e))?;
        self.datapath.store_record(&bytes).map_err(|e| failed(&e))
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
        let retired = replace(&mut self.record.retired_slots, kept);
        if let Err(error) = self.store() {
            self.record.retired_slots = retired;
            return Err(error);
        }
        // The slot's counters stay as they are, read by nobody, until a backend is published there.
        for retired in released {
            self.counts.fold(retired, counters.backend(retired.slot));
        }
        Ok(())
    }

    /// Takes a sample of the counters, for rates.
    pub(super) fn sample_rates(&mut self) -> Result<(), ApiError> {
        let now = clock::now();
        if self.counts.is_due(now) {
            let counters =
                self.counters.read(&self.record.retired_slots).map_err(|e| failed(&e))?;
            self.counts.sample(now, counters.backends);
        }
        Ok(())
    }

    /// Forgets what former backends of a service id had counted, where a new service has it. (The datapath's own counters
    /// begin at 0 when the service is published.)
    fn forget_former(&mut self, former: &State) {
        let known: BTreeSet<u32> = former.services.iter().map(|s| s.id).collect();
        for service in self.record.state.services.iter().filter(|s| !known.contains(&s.id)) {
            self.counts.forget(service.id);
        }
    }
}

/// How long connections may be idle, by slot.
fn timeouts(record: &Record) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for service in &record.state.services {
        let config = &service.config;
        let of_service = ServiceTimeouts {
            stale: config.stale_timeout,
            syn: config.syn_timeout,
            fin: config.fin_timeout,
            fin_count: config.fin_count,
        };
        timeouts.service(of_service, service.backends.iter().map(|b| b.slot));
    }
    for RetiredSlot { slot, lingers, .. } in &record.retired_slots {
        if lingers.is_zero() {
            timeouts.gone(*slot);
        } else {
            timeouts.service(lingering(*lingers), [*slot]);
        }
    }
    timeouts
}

/// For connections of a removed backend whose clients are to be told: those that were told are closing, and are kept until
/// the RST has surely come.
fn lingering(stale: Duration) -> ServiceTimeouts {
    const TOLD: Duration = Duration::from_secs(30);
    ServiceTimeouts { stale, syn: stale.min(TOLD), fin: stale.min(TOLD), fin_count: 0 }
}

/// Slots of backends that a change removes: they are kept from being given out again.
fn gone(before: &State, after: &State) -> Vec<RetiredSlot> {
    let mut stays = vec![None; MAX_SLOTS as usize];
    for service in &after.services {
        for backend in &service.backends {
            if let Some(place) = stays.get_mut(backend.slot as usize) {
                *place = Some(service.id);
            }
        }
    }
    let mut gone = Vec::new();
    for service in &before.services {
        for backend in &service.backends {
            if stays.get(backend.slot as usize).copied().flatten() != Some(service.id) {
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
