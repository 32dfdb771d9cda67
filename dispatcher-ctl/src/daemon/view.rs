//! The API's views of the running state.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use dispatcher_common::{
    backend::Share,
    connection::{State, TICK_NS},
    counts::{ActiveCount, BackendCounts},
    measure::RESPONSE_BOUNDS,
    reason::{Reason, Verdict},
};

use super::{clock, core::Core, health::Shown, links::NextHops, plane::sum, weights};
use crate::{
    api::types::{
        self, ApiError, ConfigStatus, Connection, ConnectionQuery, ConnectionTable, Connections,
        Interface, ManagerReport, Rates, ResponseBucket, ResponseSeconds, Status,
    },
    datapath::{
        Counters, Responses,
        connections::{ConnectionTable as Table, Filter, SweepResult},
    },
    model::{Backend, Protocol, RetiredSlot, Rule, Service},
    reconcile::{PlanLine, edit},
};

/// Counters and table at one time, for views.
pub(super) struct Reading {
    counters: Counters,
    sweep: Arc<SweepResult>,
    now: std::time::Instant,
    hops: NextHops,
}

impl Core {
    /// Reads counters and counts the table.
    pub(super) fn read(&self) -> Result<Reading, ApiError> {
        self.reading(self.plane.count_now())
    }

    /// Reads counters; the table's figures are those of the last sweep. For answers to changes, which must be fast.
    pub(super) fn read_quickly(&self) -> Result<Reading, ApiError> {
        self.reading(self.plane.swept())
    }

    /// Reads one backend's counters; the table's figures are those of the last sweep.
    pub(super) fn read_backend(&self, slot: u32) -> Result<Reading, ApiError> {
        let mut counters = Counters::default();
        counters.backends.insert(slot, self.plane.counters().backend(slot)?);
        if let Some(responses) = self.plane.counters().measured(slot)? {
            counters.responses.insert(slot, responses);
        }
        Ok(self.reading_of(counters, self.plane.swept()))
    }

    fn reading(&self, sweep: Arc<SweepResult>) -> Result<Reading, ApiError> {
        let counters = self.plane.counters().read(&self.store.retired_slots)?;
        Ok(self.reading_of(counters, sweep))
    }

    fn reading_of(&self, counters: Counters, sweep: Arc<SweepResult>) -> Reading {
        Reading { counters, sweep, now: clock::now(), hops: self.links.next_hops() }
    }

    /// The whole state.
    pub(super) fn status(&self) -> Result<Status, ApiError> {
        let reading = self.read()?;
        let started = self.reports.started();
        let services = &self.store.state.services;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started,
            uptime_seconds: clock::epoch_seconds() - started,
            interfaces: self.interfaces(&reading),
            services: services.iter().map(|s| self.service_view(s, &reading)).collect(),
            connections: self.table_view(&reading),
            config: self.config_status(),
            weight_updates: self.reports.events().weight_updates(),
            probe_lateness: self.health.lateness(),
            exits: self.reports.exits(),
            warnings: self.links.warnings(&self.store, &self.reports.config().file),
            last_errors: self.reports.last_errors(),
        })
    }

    fn config_status(&self) -> ConfigStatus {
        let waiting: Vec<_> =
            self.waiting(&self.store.applied).iter().map(PlanLine::detail).collect();
        let note = (!waiting.is_empty()).then(|| waiting.join("; "));
        ConfigStatus { note, ..self.reports.config().clone() }
    }

    /// The NICs.
    pub(super) fn interfaces(&self, reading: &Reading) -> Vec<Interface> {
        self.links.view(&reading.counters)
    }

    /// The manager's inputs and results.
    pub(super) fn manager_report(&self) -> ManagerReport {
        self.weights.report(self.state(), &self.health, &self.links.next_hops())
    }

    /// One service.
    pub(super) fn service_view(&self, service: &Service, reading: &Reading) -> types::Service {
        let backends: Vec<_> =
            service.backends.iter().map(|b| self.backend_view(b, reading)).collect();
        let retired = self.store.retired_slots.iter().filter(|r| r.service == service.id);
        let former = retired
            .fold(self.plane.former(service.id), |total, RetiredSlot { slot, .. }| {
                sum(total, reading.counters.backend(*slot))
            });
        let total = |of: fn(&types::Backend) -> u64| backends.iter().map(of).sum::<u64>();
        // The sum of nothing is -0.
        let rate = |of: fn(&Rates) -> f64| backends.iter().map(|b| of(&b.rates)).sum::<f64>() + 0.0;
        types::Service {
            settings: (&service.config).into(),
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
            active: self.plane.is_active(service, rule.id),
            connections: self.plane.counters().rule(rule.id),
        }
    }

    /// One backend.
    pub(super) fn backend_view(&self, backend: &Backend, reading: &Reading) -> types::Backend {
        let counts: BackendCounts = reading.counters.backend(backend.slot);
        let measured = reading.counters.responses.get(&backend.slot);
        let active = self.plane.table().active().slot(backend.slot);
        let Shown { advisor, agent } = self.health.shown(backend.slot);
        let config = &backend.config;
        let idle = self.health.idle_reason(backend, &reading.hops);
        let next_hop = reading.hops.to(config).filter(|_| !config.local);
        types::Backend {
            name: config.name.clone(),
            address: config.address,
            mac: next_hop.map(|hop| hop.mac),
            interface: next_hop.map(|hop| hop.nic.name.clone()),
            weight: weights::shown_weight(backend, &self.store.state.manager),
            fixed_weight: backend.is_fixed(),
            sorry: config.sorry,
            up: !backend.down
                && backend.advised_down.is_none()
                && (config.local || next_hop.is_some()),
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
            rates: self.plane.rates(backend.slot, &counts, reading.now),
        }
    }

    fn table_view(&self, reading: &Reading) -> ConnectionTable {
        let sweep = &reading.sweep;
        let capacity = self.plane.table().capacity();
        ConnectionTable {
            connections: sweep.connections(),
            connections_capacity: capacity,
            half_open_connections: self.plane.table().active().half_open(),
            syn_guard: self.store.applied.connections.syn_guard,
            syn_guard_since: self.reports.guarded_since(),
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

    /// A search for connections, which runs without the core.
    ///
    /// # Errors
    /// There is no such service or backend.
    pub(super) fn search(&self, query: &ConnectionQuery) -> Result<Search, ApiError> {
        let state = &self.store.state;
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
            table: Arc::clone(self.plane.table()),
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
    /// Service and backend of every slot that matches.
    slots: BTreeMap<u32, (String, String)>,
    client: Option<std::net::IpAddr>,
    from: usize,
    limit: usize,
}

impl Search {
    /// Walks the table.
    pub(super) fn run(self) -> Result<Connections, ApiError> {
        let slots = Some(self.slots.keys().copied().collect());
        let filter = Filter { slots, client: self.client };
        let found = self.table.list(&filter, self.from, self.limit)?;
        let connections = found.connections.iter().filter_map(|c| self.shown(c)).collect();
        Ok(Connections { connections, truncated: found.next.is_some(), next: found.next })
    }

    fn shown(&self, found: &crate::datapath::connections::Connection) -> Option<Connection> {
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

/// The datapath's histogram with cumulative buckets.
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

/// The state of a backend that takes new connections unless it is full.
fn usable_state(max_connections: u32, count: ActiveCount) -> String {
    if Share::new(0, max_connections).is_full(count) {
        return format!("full: {} of {max_connections} connections", count.active());
    }
    "up".to_owned()
}

/// Dropped packets of a service, by reason.
fn drops(service: u32, counters: &Counters) -> BTreeMap<types::Label, u64> {
    Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop)
        .map(|reason| (Cow::Borrowed(reason.as_str()), counters.service(service, *reason)))
        .filter(|(_, packets)| *packets != 0)
        .collect()
}
