//! What runs, as the API tells it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use dispatcher_common::{
    backend::Share,
    connection::{State, TICK_NS},
    counts::{ActiveCount, BackendCounts},
    measure::RESPONSE_BOUNDS,
    reason::{Reason, Verdict},
};

use super::{clock, core::Core, counts::sum, health::advice::Shown, links::nics::Nic};
use crate::{
    api::types::{
        self, ApiError, Connection, ConnectionQuery, ConnectionTable, Connections, Interface,
        Rates, ReasonCount, ResponseBucket, ResponseSeconds, Seconds, Status,
    },
    dataplane::{
        Counters, Responses,
        connections::{ConnectionTable as Table, Filter, SweepResult},
    },
    model::{Backend, Protocol, RetiredSlot, Rule, Service},
    reconcile::{self, edit},
};

/// Counters and table as they were at one time, for a view of all.
pub(super) struct Reading {
    counters: Counters,
    sweep: Arc<SweepResult>,
    now: std::time::Instant,
    nics: Vec<reconcile::Nic>,
}

impl Core {
    /// Reads counters and counts the table.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn read(&self) -> Result<Reading, ApiError> {
        self.reading(self.sweeper.count_now())
    }

    /// Reads counters; the table is as the last sweep saw it. For answers to changes, which must not take long.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn read_quickly(&self) -> Result<Reading, ApiError> {
        self.reading(self.sweeper.latest())
    }

    /// Reads one backend's counters; the table is as the last sweep saw it.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn read_backend(&self, slot: u32) -> Result<Reading, ApiError> {
        let mut counters = Counters::default();
        counters.backends.insert(slot, self.counters.backend(slot)?);
        if let Some(responses) = self.counters.measured(slot)? {
            counters.responses.insert(slot, responses);
        }
        Ok(self.reading_of(counters, self.sweeper.latest()))
    }

    fn reading(&self, sweep: Arc<SweepResult>) -> Result<Reading, ApiError> {
        let counters = self.counters.read(&self.record.retired_slots)?;
        Ok(self.reading_of(counters, sweep))
    }

    fn reading_of(&self, counters: Counters, sweep: Arc<SweepResult>) -> Reading {
        Reading { counters, sweep, now: clock::now(), nics: self.table_nics() }
    }

    /// Everything.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn status(&self) -> Result<Status, ApiError> {
        let reading = self.read()?;
        let services = &self.record.state.services;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            uptime_seconds: clock::epoch_seconds() - self.started,
            interfaces: self.interfaces(&reading),
            services: services.iter().map(|s| self.service_view(s, &reading)).collect(),
            connections: self.table_view(&reading),
            config: self.config_status.clone(),
            weight_updates: self.weight_updates,
            probe_lateness: self.advised.lateness(),
            exits: self.events.exits().counts(),
            warnings: self.warnings(),
            last_errors: self.problems.list(),
        })
    }

    /// What an operator should look after.
    fn warnings(&self) -> Vec<String> {
        [self.name_warnings(), self.vip_warnings(), self.answer_warnings()].concat()
    }

    /// The NICs.
    pub(super) fn interfaces(&self, reading: &Reading) -> Vec<Interface> {
        let view = |(name, nic): (&String, &Nic)| {
            let mut view = interface_view(name, nic, &reading.counters);
            if let Some(ifindex) = view.ifindex {
                view.refused = self.refused.of(ifindex, |from| self.nic_name(from));
                view.note = view.note.or_else(|| self.refused.note(ifindex, reading.now));
            }
            view
        };
        self.nics.iter().map(view).collect()
    }

    /// One service.
    pub(super) fn service_view(&self, service: &Service, reading: &Reading) -> types::Service {
        let config = &service.config;
        let backends: Vec<_> =
            service.backends.iter().map(|b| self.backend_view(b, reading)).collect();
        let retired = self.record.retired_slots.iter().filter(|r| r.service == service.id);
        let former = retired
            .fold(self.counts.former(service.id), |total, RetiredSlot { slot, .. }| {
                sum(total, reading.counters.backend(*slot))
            });
        let total = |of: fn(&types::Backend) -> u64| backends.iter().map(of).sum::<u64>();
        let rate = |of: fn(&Rates) -> f64| backends.iter().map(|b| of(&b.rates)).sum::<f64>();
        types::Service {
            name: config.name.clone(),
            vip: config.vip,
            port: config.port,
            protocol: config.protocol,
            scheduler: config.scheduler,
            forward: config.forward,
            stale_timeout: Seconds(config.stale_timeout),
            syn_timeout: Seconds(config.syn_timeout),
            fin_timeout: Seconds(config.fin_timeout),
            fin_count: config.fin_count,
            on_down: config.on_down,
            measure: config.measure,
            weight_bound: config.weight_bound,
            proportions: config.proportions,
            slow_start: Seconds(config.slow_start),
            affinity: types::Affinity::from(&config.affinity),
            packets: total(|b| b.packets) + former.packets,
            bytes: total(|b| b.bytes) + former.bytes,
            connections: total(|b| b.connections) + former.connections,
            active_connections: total(|b| b.active_connections),
            half_open_connections: total(|b| b.half_open_connections),
            hashed_packets: reading.counters.hashed(service.id),
            drops: drops(service.id, &reading.counters),
            rates: Rates {
                connections: rate(|r| r.connections),
                packets: rate(|r| r.packets),
                bytes: rate(|r| r.bytes),
            },
            backends,
            rules: service.rules.iter().map(|rule| self.rule_view(service.id, rule)).collect(),
        }
    }

    fn rule_view(&self, service: u32, rule: &Rule) -> types::Rule {
        types::Rule {
            config: rule.config.clone(),
            active: self.is_active(service, rule.id),
            connections: self.counters.rule(rule.id),
        }
    }

    /// One backend.
    pub(super) fn backend_view(&self, backend: &Backend, reading: &Reading) -> types::Backend {
        let counts: BackendCounts = reading.counters.backend(backend.slot);
        let measured = reading.counters.responses.get(&backend.slot);
        let active = self.table.active().slot(backend.slot);
        let Shown { advisor, agent } = self.advised.shown(backend.slot);
        let config = &backend.config;
        let resolve = |address| self.network.resolution(address);
        let idle = self.idle_reason(backend, &reading.nics);
        let way = reconcile::way(config, &reading.nics, &resolve).ok().filter(|_| !config.local);
        types::Backend {
            name: config.name.clone(),
            address: config.address,
            mac: way.map(|(mac, _)| mac),
            interface: way.map(|(_, nic)| nic.name.clone()),
            weight: self.shown_weight(backend),
            fixed_weight: backend.is_fixed(),
            sorry: config.sorry,
            up: !backend.down && backend.advised_down.is_none() && (config.local || way.is_some()),
            quiesced: backend.is_quiesced(),
            quiesce_deadline: backend.quiesce_deadline_ms.map(|ms| ms as f64 / 1000.0),
            down_by_hand: backend.down,
            local: config.local,
            max_connections: config.max_connections,
            sticky: config.sticky,
            state: idle.unwrap_or_else(|| usable_state(config.max_connections, active)),
            since: backend.since_ms as f64 / 1000.0,
            packets: counts.packets,
            bytes: counts.bytes,
            connections: counts.connections,
            active_connections: active.active(),
            half_open_connections: active.half_open(),
            retransmissions: counts.retransmissions,
            delivered_bytes: measured.map(|responses| responses.delivered),
            response_seconds: measured.map(response_seconds),
            advisor,
            agent,
            rates: self.counts.rates(backend.slot, &counts, reading.now),
        }
    }

    fn table_view(&self, reading: &Reading) -> ConnectionTable {
        let sweep = &reading.sweep;
        let capacity = self.table.capacity();
        ConnectionTable {
            connections: sweep.connections(),
            connections_capacity: capacity,
            half_open_connections: self.table.active().half_open(),
            syn_guard: self.record.applied.connections.syn_guard,
            syn_guard_since: self.guarded_since,
            overflow_connections: u64::from(sweep.overflow),
            fill: sweep.connections() as f64 / capacity.max(1) as f64,
            connections_expired: [
                ("syn", sweep.expired.syn),
                ("stale", sweep.expired.stale),
                ("fin", sweep.expired.fin),
                ("udp", sweep.expired.udp),
                ("backend_gone", sweep.expired.gone),
            ]
            .map(|(cause, count)| (Cow::Borrowed(cause), count))
            .into(),
        }
    }

    /// A search for connections, to be run without the core.
    ///
    /// # Errors
    /// There is no such service or backend.
    pub(super) fn search(&self, query: &ConnectionQuery) -> Result<Search, ApiError> {
        let state = &self.record.state;
        let services: Vec<&Service> = match &query.service {
            Some(name) => vec![edit::find_service(state, name)?],
            None => state.services.iter().map(|service| &**service).collect(),
        };
        let mut slots = BTreeMap::new();
        for service in services {
            for backend in &service.backends {
                let config = &backend.config;
                let wanted = query.backend.as_ref();
                if wanted.is_none_or(|w| *w == config.name || *w == config.address.to_string()) {
                    slots.insert(backend.slot, (service.config.name.clone(), config.name.clone()));
                }
            }
        }
        if let Some(wanted) = query.backend.as_ref().filter(|_| slots.is_empty()) {
            let error =
                format!("backend {wanted:?} is unknown, expected a backend's name or address");
            return Err(ApiError::not_found(error));
        }
        Ok(Search {
            table: Arc::clone(&self.table),
            slots,
            client: query.client,
            from: query.from,
            limit: query.limit(),
        })
    }
}

/// A search through the connection table.
pub(super) struct Search {
    table: Arc<Table>,
    /// Service and backend of every slot that is meant.
    slots: BTreeMap<u32, (String, String)>,
    client: Option<std::net::IpAddr>,
    from: usize,
    limit: usize,
}

impl Search {
    /// Walks the table.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) fn run(self) -> Result<Connections, ApiError> {
        let slots = Some(self.slots.keys().copied().collect());
        let filter = Filter { slots, client: self.client };
        let found = self.table.list(&filter, self.from, self.limit);
        let found = found?;
        let connections = found.connections.iter().filter_map(|c| self.shown(c)).collect();
        Ok(Connections { connections, truncated: found.next.is_some(), next: found.next })
    }

    fn shown(&self, found: &crate::dataplane::connections::Connection) -> Option<Connection> {
        let (service, backend) = self.slots.get(&found.slot)?;
        let protocol = match found.protocol {
            dispatcher_common::net::UDP => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let seconds = |ticks: u64| ticks as f64 * TICK_NS as f64 / 1e9;
        Some(Connection {
            protocol,
            client: found.client.ip(),
            client_port: found.client.port(),
            vip: found.vip.ip(),
            vip_port: found.vip.port(),
            service: service.clone(),
            backend: backend.clone(),
            state: Cow::Borrowed(match found.state {
                State::HalfOpen => "half_open",
                State::Established => "established",
                State::Closing | State::Aborted => "closing",
            }),
            age_seconds: seconds(found.age_ticks),
            idle_seconds: seconds(found.idle_ticks),
            delivered_bytes: found.delivered,
            response_seconds: found.response_micros.map(|micros| micros as f64 / 1e6),
        })
    }
}

/// The datapath's histogram, its buckets cumulated.
fn response_seconds(responses: &Responses) -> ResponseSeconds {
    let counts = responses.buckets.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    let bucket = |(micros, count): (&u64, u64)| ResponseBucket { le: *micros as f64 / 1e6, count };
    ResponseSeconds {
        count: responses.count(),
        sum: responses.micros as f64 / 1e6,
        buckets: RESPONSE_BOUNDS.iter().zip(counts).map(bucket).collect(),
    }
}

fn interface_view(name: &str, nic: &Nic, counters: &Counters) -> Interface {
    let counted = |reason: &Reason| (*reason, counters.packets(nic.index, *reason));
    let reasons: Vec<ReasonCount> = Reason::ALL
        .iter()
        .map(counted)
        .filter(|(_, counts)| counts.packets != 0)
        .map(|(reason, counts)| ReasonCount {
            verdict: Cow::Borrowed(reason.verdict().as_str()),
            reason: Cow::Borrowed(reason.as_str()),
            packets: counts.packets,
            bytes: counts.bytes,
        })
        .collect();
    Interface {
        name: name.to_owned(),
        index: Some(nic.index),
        ifindex: nic.link.as_ref().map(|link| link.ifindex),
        mac: nic.link.as_ref().map(|link| link.mac),
        mode: nic.mode,
        attached: nic.attached.is_some(),
        since: nic.since,
        packets: reasons.iter().map(|r| r.packets).sum(),
        bytes: reasons.iter().map(|r| r.bytes).sum(),
        reasons,
        refused: Vec::new(),
        note: nic.note.clone(),
    }
}

/// The state of a backend for which nothing stands in the way of new connections but those it has.
fn usable_state(max_connections: u32, count: ActiveCount) -> String {
    if Share::new(0, max_connections).is_full(count) {
        return format!("full: {} of {max_connections} connections", count.active());
    }
    "up".to_owned()
}

/// What was dropped of a service's packets, by reason.
fn drops(service: u32, counters: &Counters) -> BTreeMap<types::Label, u64> {
    Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop)
        .map(|reason| (Cow::Borrowed(reason.as_str()), counters.service(service, *reason)))
        .filter(|(_, packets)| *packets != 0)
        .collect()
}
