//! The state of each backend as last reported, so that every change is reported once: which backends are up, which services have
//! none that is, and which backends get no new connections.

use std::collections::{HashMap, HashSet};

use crate::{
    api::types::EventKind,
    daemon::links::NextHops,
    model::{Backend, Service},
};

/// What was last reported.
#[derive(Debug)]
pub(super) struct States {
    reported: Reported,
    /// Why each backend that gets no new connections gets none, by slot.
    idle: HashMap<u32, String>,
}

impl States {
    /// Nothing was reported yet. After a takeover the former controller has reported what the first report finds.
    pub(super) fn new(is_takeover: bool) -> Self {
        let reported = Reported { is_silent: is_takeover, ..Reported::default() };
        Self { reported, idle: HashMap::new() }
    }

    /// Whether a backend gets no new connections.
    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.idle.contains_key(&slot)
    }

    /// Looks at the backends of all services, or of a part of them; logs which begin or cease to get traffic, and yields what is
    /// to be reported.
    pub(super) fn report(
        &mut self,
        services: &[&Service],
        hops: &NextHops,
        is_part: bool,
    ) -> Vec<EventKind> {
        let mut former = std::mem::take(&mut self.idle);
        let mut idle = HashMap::new();
        let mut look = Look::default();
        for service in services {
            look.service(&self.reported, service, |b| {
                hops.down_reason(b, b.advised_down.as_deref())
            });
            for backend in &service.backends {
                let reason = hops.idle_reason(backend, backend.advised_down.as_deref());
                let before = former.remove(&backend.slot);
                if before != reason {
                    log_reason(&service.config.name, &backend.config.name, reason.as_deref());
                }
                idle.extend(reason.map(|reason| (backend.slot, reason)));
            }
        }
        if is_part {
            former.extend(idle);
            self.idle = former;
        } else {
            self.idle = idle;
        }
        self.reported.update(look, is_part)
    }
}

fn log_reason(service: &str, backend: &str, reason: Option<&str>) {
    match reason {
        None => tracing::info!("backend {service}/{backend}: takes traffic again"),
        Some(reason) if reason.starts_with("no mac") => {
            tracing::warn!("backend {service}/{backend}: gets no traffic: {reason}");
        }
        Some(reason) => {
            tracing::info!("backend {service}/{backend}: gets no new connections: {reason}");
        }
    }
}

/// What was last reported of up and down, by slot and service id.
#[derive(Debug, Default)]
struct Reported {
    /// Why those that are down are down.
    down: HashMap<u32, String>,
    /// Services of which no backend is up.
    alerted: HashSet<u32>,
    /// Whether the next look reports nothing: the controller before has reported it.
    is_silent: bool,
}

/// A look at backends, service by service.
#[derive(Debug, Default)]
struct Look {
    /// Why they are down, if they are, of all that were looked at.
    down: Vec<(u32, Option<String>)>,
    /// Whether no backend is up, of all services that were looked at.
    alerted: Vec<(u32, bool)>,
    events: Vec<EventKind>,
}

impl Look {
    /// Adds a service; `down` yields why one of its backends is down, if it is, `former` is what was reported of it.
    fn service(
        &mut self,
        former: &Reported,
        service: &Service,
        down: impl Fn(&Backend) -> Option<String>,
    ) {
        let name = &service.config.name;
        let (mut any, mut any_up) = (false, false);
        for backend in &service.backends {
            let down = down(backend);
            // A sorry server only stands in: the service counts as down while no other backend is up.
            if !backend.config.sorry {
                (any, any_up) = (true, any_up || down.is_none());
            }
            // A new backend counts as up until it is found down.
            let was = former.down.get(&backend.slot);
            let of = || (name.clone(), backend.config.name.clone(), backend.config.address);
            match (was, &down) {
                (None, Some(reason)) => {
                    let ((service, backend, address), reason) = (of(), reason.clone());
                    let down = EventKind::ServerDown { service, backend, address, reason };
                    self.events.push(down);
                }
                (Some(reason), None) => {
                    let ((service, backend, address), reason) = (of(), reason.clone());
                    let up = EventKind::ServerUp { service, backend, address, reason };
                    self.events.push(up);
                }
                (None, None) | (Some(_), Some(_)) => {}
            }
            self.down.push((backend.slot, down));
        }
        let was = former.alerted.contains(&service.id);
        // A service without backends stays what it was.
        let is = if any { !any_up } else { was };
        self.alerted.push((service.id, is));
        if is && !was {
            self.events.push(EventKind::ManagerAlert { service: name.clone() });
        } else if was && !is {
            self.events.push(EventKind::ManagerClear { service: name.clone() });
        }
    }
}

impl Reported {
    /// Replaces what is known by a look at all services, or by one at a part of them; yields what has changed.
    fn update(&mut self, look: Look, is_part: bool) -> Vec<EventKind> {
        if is_part {
            for (slot, _) in &look.down {
                self.down.remove(slot);
            }
            for (id, _) in &look.alerted {
                self.alerted.remove(id);
            }
        } else {
            self.down.clear();
            self.alerted.clear();
        }
        self.down.extend(look.down.into_iter().filter_map(|(slot, why)| Some((slot, why?))));
        self.alerted.extend(look.alerted.into_iter().filter(|(_, is)| *is).map(|(id, _)| id));
        if std::mem::take(&mut self.is_silent) { Vec::new() } else { look.events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing;

    /// What a look at two backends reports.
    fn report(reported: &mut Reported, down: [Option<&str>; 2]) -> Vec<String> {
        let mut service = testing::service("web", "192.0.2.80", 80);
        service.backends =
            vec![testing::backend("a", "10.0.0.1"), testing::backend("b", "10.0.0.2")];
        (service.backends[0].slot, service.backends[1].slot) = (1, 2);
        let mut look = Look::default();
        let down = down.map(|why| why.map(str::to_owned));
        look.service(reported, &service, |b| down[b.slot as usize - 1].clone());
        reported.update(look, true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn up_down_and_alerts_are_reported_once() {
        let reported = &mut Reported::default();
        assert_eq!(report(reported, [None, Some("no mac")]), ["backend web/b: no mac"]);
        assert!(report(reported, [None, Some("no mac")]).is_empty());
        assert!(report(reported, [None, Some("no mac; down by hand")]).is_empty());
        assert_eq!(
            report(reported, [Some("down by hand"), Some("no mac")]),
            ["backend web/a: down by hand", "service web: no backend is up"]
        );
        assert_eq!(
            report(reported, [None, Some("no mac")]),
            ["backend web/a: up again, after down by hand", "service web: a backend is up again"]
        );
        assert_eq!(report(reported, [None, None]), ["backend web/b: up again, after no mac"]);
        // Without a backend there is none that is up again.
        assert_eq!(report(reported, [Some("down"), Some("down")]).len(), 3);
        let (mut look, empty) = (Look::default(), testing::service("web", "192.0.2.80", 80));
        look.service(reported, &empty, |_| None);
        assert!(reported.update(look, false).is_empty());
        assert_eq!(report(reported, [None, None]), ["service web: a backend is up again"]);
    }

    #[test]
    fn a_sorry_server_does_not_end_the_alert() {
        let reported = &mut Reported::default();
        let mut service = testing::service("web", "192.0.2.80", 80);
        service.backends =
            vec![testing::backend("a", "10.0.0.1"), testing::backend("sorry", "10.0.0.2")];
        (service.backends[0].slot, service.backends[1].slot) = (1, 2);
        service.backends[1].config.sorry = true;
        let mut look = Look::default();
        look.service(reported, &service, |b| (b.slot == 1).then(|| "no mac".to_owned()));
        let events: Vec<_> = reported.update(look, false).iter().map(ToString::to_string).collect();
        assert_eq!(events, ["backend web/a: no mac", "service web: no backend is up"]);
    }

    #[test]
    fn a_takeover_reports_only_what_changes_after_it() {
        let reported = &mut Reported { is_silent: true, ..Reported::default() };
        assert!(report(reported, [Some("no mac"), Some("no mac")]).is_empty());
        assert_eq!(
            report(reported, [None, Some("no mac")]),
            ["backend web/a: up again, after no mac", "service web: a backend is up again"]
        );
    }
}
