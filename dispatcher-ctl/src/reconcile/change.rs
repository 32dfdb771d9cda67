//! The difference between the running state and the next one, computed once for each change.
//!
//! Unchanged services share memory with the former state and are skipped by pointer: a change of one service among thousands
//! costs next to nothing.

use std::collections::HashMap;

use super::weights::settle_weights;
use crate::model::{Backend, Service, Shared, State};

/// A service before and after a change: new, removed, or changed.
pub type Pair<'s> = (Option<&'s Service>, Option<&'s Service>);

/// What a change must rewrite in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// Everything.
    All,
    /// The services at these places of the state. Only their backends' words, their rules and their schedules differ:
    /// no other map and no other service changes.
    Services(Vec<usize>),
}

/// The next state, the former one, and their differences.
#[derive(Clone, Debug)]
pub struct Change {
    former: State,
    state: State,
    /// Places of the services that differ, in the former state and in the new one.
    places: Vec<(Option<usize>, Option<usize>)>,
    dirty: Dirty,
}

impl Dirty {
    /// The dirty services of a state.
    #[must_use]
    pub fn services<'s>(&self, state: &'s State) -> Vec<&'s Service> {
        match self {
            Self::All => state.services.iter().map(|service| &**service).collect(),
            Self::Services(places) => {
                places.iter().filter_map(|at| state.services.get(*at)).map(|s| &**s).collect()
            }
        }
    }

    /// Places of the dirty services; empty if everything is dirty.
    #[must_use]
    pub fn places(&self) -> Option<&[usize]> {
        match self {
            Self::All => None,
            Self::Services(places) => Some(places),
        }
    }
}

impl Change {
    /// Compares the running state with the next one. Services with the same id are the same service, whatever their names.
    /// Settles the weights of services that differ; `now_ms` is in milliseconds since the epoch.
    #[must_use]
    pub fn new(former: &State, mut state: State, now_ms: u64) -> Self {
        let former = former.clone();
        let has_same_places = have_same_places(&former, &state);
        let mut left: HashMap<u32, usize> = if has_same_places {
            HashMap::new()
        } else {
            former.services.iter().map(|service| service.id).zip(0..).collect()
        };
        let is_managed = state.manager.enabled;
        let is_manager_switched = is_managed != former.manager.enabled;
        let mut places = Vec::new();
        for (at, service) in state.services.iter_mut().enumerate() {
            let was_at = if has_same_places { Some(at) } else { left.remove(&service.id) };
            let was = was_at.and_then(|at| former.services.get(at));
            let is_same = |service: &Shared<Service>| was.is_some_and(|was| was == service);
            if is_manager_switched || !is_same(service) {
                settle_weights(was.map(|was| &**was), service, is_managed, now_ms);
            }
            match was.filter(|was| *was == service) {
                // Shared from now on, so that they are equal without a comparison.
                Some(was) => *service = was.clone(),
                None => places.push((was_at, Some(at))),
            }
        }
        let gone =
            (0..).zip(&former.services).filter(|(_, service)| left.contains_key(&service.id));
        places.extend(gone.map(|(at, _)| (Some(at), None)));
        let mut change = Self { former, state, places, dirty: Dirty::All };
        if has_same_places && change.is_in_weights_only() {
            let dirty = change.places.iter().filter_map(|(_, at)| *at);
            change.dirty = Dirty::Services(dirty.collect());
        }
        change
    }

    /// The former state.
    #[must_use]
    pub const fn former(&self) -> &State {
        &self.former
    }

    /// The next state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The services that differ, in the order of the next state, then those that are removed.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.places.iter().map(|(was, is)| {
            let was = was.and_then(|at| self.former.services.get(at)).map(|s| &**s);
            (was, is.and_then(|at| self.state.services.get(at)).map(|s| &**s))
        })
    }

    /// What it must rewrite in the maps, if everything else is in force.
    #[must_use]
    pub const fn dirty(&self) -> &Dirty {
        &self.dirty
    }

    fn is_in_weights_only(&self) -> bool {
        let in_weights_only = |pair: Pair<'_>| match pair {
            (Some(was), Some(is)) => is_in_weights_only(was, is),
            (None, _) | (_, None) => false,
        };
        self.former.interfaces == self.state.interfaces
            && self.former.manager == self.state.manager
            && self.pairs().all(in_weights_only)
    }
}

/// Whether both have the same services, by id, in the same order.
fn have_same_places(before: &State, after: &State) -> bool {
    let same = |(was, is): (&Shared<Service>, &Shared<Service>)| was.is_same(is) || was.id == is.id;
    before.services.len() == after.services.len()
        && before.services.iter().zip(&after.services).all(same)
}

/// Whether a service differs only in words of its own backends and in its schedules: in weights, or in backends that are
/// quiesced, up or down. Backends, their addresses and all settings of the service are the same, so nothing else changes.
fn is_in_weights_only(before: &Service, after: &Service) -> bool {
    let is_same = |(was, is): (&Backend, &Backend)| {
        let (a, b) = (&was.config, &is.config);
        was.slot == is.slot && (&a.name, a.address, a.local) == (&b.name, b.address, b.local)
    };
    before.id == after.id
        && before.config == after.config
        && before.rules == after.rules
        && before.backends.len() == after.backends.len()
        && before.backends.iter().zip(&after.backends).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing;

    fn state(services: &[(u32, &str)]) -> State {
        let one = |(id, name): &(u32, &str)| {
            let mut service = testing::service(name, "192.0.2.80", 80);
            service.id = *id;
            service.backends = vec![testing::backend("a", "10.0.0.1")];
            Shared::from(service)
        };
        State { services: services.iter().map(one).collect(), ..State::default() }
    }

    fn ids(before: &State, after: &State) -> Vec<(Option<u32>, Option<u32>)> {
        let id = |service: Option<&Service>| service.map(|s| s.id);
        let change = Change::new(before, after.clone(), 0);
        change.pairs().map(|(was, is)| (id(was), id(is))).collect()
    }

    #[test]
    fn what_differs_is_found_by_id() {
        let before = state(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(ids(&before, &before.clone()), []);
        assert_eq!(ids(&before, &state(&[(1, "a"), (2, "b"), (3, "c")])), []);
        let mut after = before.clone();
        after.services[1].backends[0].quiesced = true;
        assert_eq!(ids(&before, &after), [(Some(2), Some(2))]);
        let after = state(&[(3, "c"), (4, "d"), (1, "x")]);
        let want = [(None, Some(4)), (Some(1), Some(1)), (Some(2), None)];
        assert_eq!(ids(&before, &after), want);
        assert_eq!(ids(&before, &state(&[(2, "b"), (1, "a"), (3, "c")])), [], "order is no matter");
    }

    #[test]
    fn equal_services_are_shared() {
        let before = state(&[(1, "a"), (2, "b"), (3, "c")]);
        for other in [&[(1, "a"), (2, "y"), (3, "c")][..], &[(3, "c"), (1, "a")]] {
            let change = Change::new(&before, state(other), 0);
            let after = change.state();
            assert_eq!(*after, state(other));
            for service in &after.services {
                let was = before.services.iter().find(|s| s.id == service.id).unwrap();
                assert_eq!(was.is_same(service), service.config.name != "y");
            }
        }
    }

    #[test]
    fn weights_are_no_matter_to_others() {
        let before = &state(&[(1, "a")]);
        let with = |change: &dyn Fn(&mut Service)| {
            let mut after = before.clone();
            change(&mut after.services[0]);
            *Change::new(before, after, 0).dirty() == Dirty::Services(vec![0])
        };
        assert!(with(&|s| s.backends[0].config.weight += 1));
        assert!(with(&|s| s.backends[0].down = true));
        assert!(with(&|s| s.backends[0].advised_down = Some("no answer".to_owned())));
        assert!(!with(&|s| s.backends[0].slot += 1));
        assert!(!with(&|s| s.backends[0].config.address = [10, 0, 0, 9].into()));
        assert!(!with(&|s| s.backends[0].config.local = true));
        assert!(!with(&|s| s.backends.clear()));
        assert!(!with(&|s| s.config.fin_count += 1));
        assert!(!with(&|s| s.id += 1));
    }
}
