//! The events that follow from a change of the state: weights, quiesced backends, services and backends that came or went. A
//! service that has kept its id and a backend that has kept its slot are the same, even under other names.

use std::collections::HashMap;

use crate::{
    api::types::{ChangedBy, EventKind},
    model::{Backend, Service},
    reconcile::Change,
};

/// Who or what changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Cause {
    /// The daemon starts: nothing has changed.
    Start,
    /// Somebody, by command or API.
    Hand,
    /// The file.
    File,
    /// Probes.
    Advisor,
    /// The manager, which reports weights itself: it knows the numbers.
    Manager,
}

/// The events. Of a service that comes or goes, its backends are not reported.
pub(super) fn events(change: &Change, cause: Cause) -> Vec<EventKind> {
    let mut events = Vec::new();
    if cause == Cause::Start {
        return events;
    }
    let name = |service: &Service| service.config.name.clone();
    for pair in change.pairs() {
        match pair {
            (Some(former), Some(service)) => service_events(former, service, cause, &mut events),
            (None, Some(new)) => events.push(EventKind::ServiceAdded { service: name(new) }),
            (Some(gone), None) => events.push(EventKind::ServiceRemoved { service: name(gone) }),
            (None, None) => {}
        }
    }
    events
}

fn service_events(former: &Service, service: &Service, cause: Cause, events: &mut Vec<EventKind>) {
    let name = |service: &Service| service.config.name.clone();
    let mut before: HashMap<u32, &Backend> = former.backends.iter().map(|b| (b.slot, b)).collect();
    for backend in &service.backends {
        let of = || (name(service), backend.config.name.clone());
        let Some(former) = before.remove(&backend.slot) else {
            let (service, backend) = of();
            events.push(EventKind::BackendAdded { service, backend });
            continue;
        };
        let (from, to) = (former.weight(), backend.weight());
        if let Some(by) = changed_by(cause, former, backend).filter(|_| from != to) {
            let (service, backend) = of();
            events.push(EventKind::WeightChanged { service, backend, from, to, by, numbers: None });
        }
        let (was, is) = (former.quiesced, backend.quiesced);
        if is && (!was || former.quiesced_now != backend.quiesced_now) {
            let ((service, backend_name), now) = (of(), backend.quiesced_now);
            events.push(EventKind::Quiesced { service, backend: backend_name, now });
        } else if was && !is {
            let (service, backend) = of();
            events.push(EventKind::Unquiesced { service, backend });
        }
    }
    for gone in former.backends.iter().filter(|b| before.contains_key(&b.slot)) {
        let backend = gone.config.name.clone();
        events.push(EventKind::BackendRemoved { service: name(service), backend });
    }
}

fn changed_by(cause: Cause, former: &Backend, backend: &Backend) -> Option<ChangedBy> {
    if former.whole_weight() == backend.whole_weight() {
        return Some(ChangedBy::SlowStart);
    }
    match cause {
        Cause::Hand => Some(ChangedBy::Hand),
        Cause::File => Some(ChangedBy::File),
        Cause::Start | Cause::Advisor | Cause::Manager => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{SlowStart, State},
        reconcile::testing,
    };

    fn lines(former: &State, state: &State, cause: Cause) -> Vec<String> {
        events(&Change::new(former, state.clone(), 0), cause)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_changed_is_told_once() {
        let mut service = testing::service("web", "192.0.2.80", 80);
        service.config.slow_start = Duration::from_secs(10);
        service.backends =
            vec![testing::backend("a", "10.0.0.1"), testing::backend("b", "10.0.0.2")];
        (service.backends[0].slot, service.backends[1].slot) = (1, 2);
        let former = State { services: vec![service.into()], ..State::default() };
        assert!(lines(&former, &former, Cause::Hand).is_empty());

        let mut state = former.clone();
        state.services[0].backends[0].config.weight = 3;
        let weight = former.services[0].backends[0].config.weight;
        let line = format!("backend web/a: weight {weight} → 3 by hand");
        assert_eq!(lines(&former, &state, Cause::Hand), [line.as_str()]);
        assert_eq!(lines(&former, &state, Cause::File), [line.replace("hand", "file")]);
        assert!(lines(&former, &state, Cause::Manager).is_empty(), "it tells itself");
        state.services[0].backends[0].config.weight = weight;
        state.services[0].backends[0].slow_start = Some(SlowStart { since_ms: 0, weight: 1 });
        let line = format!("backend web/a: weight {weight} → 1 by slow_start");
        assert_eq!(lines(&former, &state, Cause::Advisor), [line.as_str()]);
        assert!(lines(&State::default(), &state, Cause::Start).is_empty());
        assert_eq!(lines(&State::default(), &state, Cause::Hand), ["service web: added"]);
        assert_eq!(lines(&state, &State::default(), Cause::Hand), ["service web: removed"]);

        let mut state = former.clone();
        (state.services[0].backends[1].quiesced, state.services[0].backends[0].slot) = (true, 9);
        assert_eq!(
            lines(&former, &state, Cause::Hand),
            ["backend web/a: added", "backend web/b: quiesced", "backend web/a: removed"]
        );
        assert_eq!(
            lines(&state, &former, Cause::Hand)[1..],
            ["backend web/b: no longer quiesced", "backend web/a: removed"]
        );
        let mut moved = state.clone();
        moved.services[0].backends[1].quiesced_now = true;
        assert_eq!(lines(&state, &moved, Cause::Hand), ["backend web/b: quiesced, clients moved"]);
    }
}
