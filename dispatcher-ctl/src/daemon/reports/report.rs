//! What is told of how things are: backends that get traffic or do not, too many half-open connections. Each change once.

use std::collections::HashMap;

use crate::daemon::{clock, core::Core, health::states::Look};
use crate::{api::types::EventKind, model::Backend, reconcile};

impl Core {
    /// Notes when more connections become half-open than `syn_guard`, and when no longer; tells it.
    pub(in crate::daemon) fn watch_guard(&mut self) {
        let guard = self.record.applied.connections.syn_guard;
        let half_open = self.table.active().half_open();
        match (half_open > guard, self.guarded_since) {
            (true, None) => {
                self.guarded_since = Some(clock::epoch_seconds());
                let half_open_connections = half_open;
                self.events
                    .tell(EventKind::HalfOpenAlert { half_open_connections, syn_guard: guard });
            }
            (false, Some(since)) => {
                self.guarded_since = None;
                let seconds = clock::epoch_seconds() - since;
                self.events.tell(EventKind::HalfOpenClear {
                    half_open_connections: half_open,
                    syn_guard: guard,
                    seconds,
                });
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether a backend gets no new connections, for whatever reason.
    pub(in crate::daemon) fn is_idle(&self, slot: u32) -> bool {
        self.reported.contains_key(&slot)
    }

    /// Why a backend gets no new connections, if it does not: by what advisors say of it now, which may be another thing than
    /// what had it go down.
    pub(in crate::daemon) fn idle_reason(
        &self,
        backend: &Backend,
        nics: &[reconcile::Nic],
    ) -> Option<String> {
        let former = backend.advised_down.as_deref();
        let newest = former.and_then(|_| self.advised.why_down(backend.slot));
        let resolve = |address| self.network.resolution(address);
        reconcile::idle_reason(backend, newest.as_deref().or(former), nics, &resolve)
    }

    /// Tells which backends went down or came up, and logs which stopped or started getting traffic, and why; once for each
    /// change. `places`: only of these services of the state; of others nothing has changed.
    pub(in crate::daemon) fn report_backends(
        &mut self,
        nics: &[reconcile::Nic],
        places: Option<&[usize]>,
    ) {
        let mut reported = HashMap::new();
        let mut look = Look::default();
        let all = &self.record.state.services;
        let services: Vec<_> = match places {
            Some(places) => places.iter().filter_map(|at| all.get(*at)).collect(),
            None => all.iter().collect(),
        };
        for service in &services {
            let resolve = |address| self.network.resolution(address);
            look.service(&self.health, service, |b| {
                reconcile::down_reason(b, b.advised_down.as_deref(), nics, &resolve)
            });
            for backend in &service.backends {
                let advised = backend.advised_down.as_deref();
                let reason = reconcile::idle_reason(backend, advised, nics, &resolve);
                let reason = reason.unwrap_or_default();
                let before = self.reported.get(&backend.slot).map_or("", String::as_str);
                if before != reason {
                    log_reason(&service.config.name, &backend.config.name, &reason);
                }
                if !reason.is_empty() {
                    reported.insert(backend.slot, reason);
                }
            }
        }
        if places.is_some() {
            for backend in services.iter().flat_map(|service| &service.backends) {
                self.reported.remove(&backend.slot);
            }
            self.reported.extend(reported);
        } else {
            self.reported = reported;
        }
        for event in self.health.take(look, places.is_some()) {
            if event.backend().is_some() {
                // The log has just said why.
                self.events.tell_readers(event);
            } else {
                self.events.tell(event);
            }
        }
    }
}

fn log_reason(service: &str, backend: &str, reason: &str) {
    if reason.is_empty() {
        tracing::info!("backend {service}/{backend}: takes traffic again");
    } else if reason.starts_with("no mac") {
        tracing::warn!("backend {service}/{backend}: gets no traffic: {reason}");
    } else {
        tracing::info!("backend {service}/{backend}: gets no new connections: {reason}");
    }
}
