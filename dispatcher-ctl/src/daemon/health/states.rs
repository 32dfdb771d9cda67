//! Which backends are up, and which services have none: what was last told, so that every change is told once.

use std::collections::{HashMap, HashSet};

use crate::{
    api::types::EventKind,
    model::{Backend, Service},
};

/// What was last told, by slot and service id.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Health {
    /// Why those that are down are down.
    down: HashMap<u32, String>,
    /// Services of which no backend is up.
    alerted: HashSet<u32>,
    /// The first look tells nothing: who ran before has told it.
    is_silent: bool,
}

/// A look at backends, which is told piece by piece.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Look {
    /// Why they are down, if they are, of all that were looked at.
    down: Vec<(u32, Option<String>)>,
    /// Whether no backend is up, of all services that were looked at.
    alerted: Vec<(u32, bool)>,
    events: Vec<EventKind>,
}

impl Look {
    /// A service; `down` says why one of its backends is down, if it is, `former` what was told of it.
    pub(in crate::daemon) fn service(
        &mut self,
        former: &Health,
        service: &Service,
        down: impl Fn(&Backend) -> Option<String>,
    ) {
        let name = &service.config.name;
        let (mut any, mut any_up) = (false, false);
        for backend in &service.backends {
            let down = down(backend);
            // One that stands in when no other is up does not make up for them.
            if !backend.config.sorry {
                (any, any_up) = (true, any_up || down.is_none());
            }
            // One that is new counts as up until it is not.
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
        // One that has lost its last backend is no better off.
        let is = if any { !any_up } else { was };
        self.alerted.push((service.id, is));
        if is && !was {
            self.events.push(EventKind::ManagerAlert { service: name.clone() });
        } else if was && !is {
            self.events.push(EventKind::ManagerClear { service: name.clone() });
        }
    }
}

impl Health {
    /// Of a datapath that another controller ran: that one has told what the first look finds.
    pub(in crate::daemon) fn of_takeover() -> Self {
        Self { is_silent: true, ..Self::default() }
    }

    /// Takes in a look at all backends, or at `some` services only; yields what has changed since the last one.
    pub(in crate::daemon) fn take(&mut self, look: Look, some: bool) -> Vec<EventKind> {
        if some {
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

    /// What a look at two backends tells.
    fn told(health: &mut Health, down: [Option<&str>; 2]) -> Vec<String> {
        let mut service = testing::service("web", "192.0.2.80", 80);
        service.backends =
            vec![testing::backend("a", "10.0.0.1"), testing::backend("b", "10.0.0.2")];
        (service.backends[0].slot, service.backends[1].slot) = (1, 2);
        let mut look = Look::default();
        let down = down.map(|why| why.map(str::to_owned));
        look.service(health, &service, |b| down[b.slot as usize - 1].clone());
        health.take(look, true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn up_down_and_alerts_are_told_once() {
        let health = &mut Health::default();
        assert_eq!(told(health, [None, Some("no mac")]), ["backend web/b: no mac"]);
        assert!(told(health, [None, Some("no mac")]).is_empty());
        assert!(told(health, [None, Some("no mac; down by hand")]).is_empty());
        assert_eq!(
            told(health, [Some("down by hand"), Some("no mac")]),
            ["backend web/a: down by hand", "service web: no backend is up"]
        );
        assert_eq!(
            told(health, [None, Some("no mac")]),
            ["backend web/a: up again, after down by hand", "service web: a backend is up again"]
        );
        assert_eq!(told(health, [None, None]), ["backend web/b: up again, after no mac"]);
        // Without a backend there is none that is up again.
        assert_eq!(told(health, [Some("down"), Some("down")]).len(), 3);
        let (mut look, empty) = (Look::default(), testing::service("web", "192.0.2.80", 80));
        look.service(health, &empty, |_| None);
        assert!(health.take(look, false).is_empty());
        assert_eq!(told(health, [None, None]), ["service web: a backend is up again"]);
    }

    #[test]
    fn one_that_stands_in_does_not_end_the_alert() {
        let health = &mut Health::default();
        let mut service = testing::service("web", "192.0.2.80", 80);
        service.backends =
            vec![testing::backend("a", "10.0.0.1"), testing::backend("sorry", "10.0.0.2")];
        (service.backends[0].slot, service.backends[1].slot) = (1, 2);
        service.backends[1].config.sorry = true;
        let mut look = Look::default();
        look.service(health, &service, |b| (b.slot == 1).then(|| "no mac".to_owned()));
        let told: Vec<_> = health.take(look, false).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["backend web/a: no mac", "service web: no backend is up"]);
    }

    #[test]
    fn a_takeover_tells_what_changes_from_then_on() {
        let health = &mut Health::of_takeover();
        assert!(told(health, [Some("no mac"), Some("no mac")]).is_empty());
        assert_eq!(
            told(health, [None, Some("no mac")]),
            ["backend web/a: up again, after no mac", "service web: a backend is up again"]
        );
    }
}
