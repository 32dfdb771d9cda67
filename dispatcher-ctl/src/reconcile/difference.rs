//! What differs between two states, service by service? Most services are as they were, and most of those are the very same
//! memory: what is wanted here is that those cost next to nothing.

use std::collections::HashMap;

use crate::model::{Backend, Service, Shared, State};

/// A service as it was and as it is: not there before, not there any more, or another one than it was.
pub type Pair<'s> = (Option<&'s Service>, Option<&'s Service>);

/// The services that differ, in the order of `after`, then those that go. A service that has kept its id is the same,
/// whatever its name.
#[must_use]
pub fn differing<'s>(before: &'s State, after: &'s State) -> Vec<Pair<'s>> {
    if have_same_places(before, after) {
        let pairs = before.services.iter().zip(&after.services);
        let pairs = pairs.filter(|(was, is)| was != is);
        return pairs.map(|(was, is)| (Some(&**was), Some(&**is))).collect();
    }
    let mut left: HashMap<u32, &Shared<Service>> =
        before.services.iter().map(|s| (s.id, s)).collect();
    let mut pairs = Vec::new();
    for service in &after.services {
        match left.remove(&service.id) {
            Some(was) if was == service => {}
            was => pairs.push((was.map(|was| &**was), Some(&**service))),
        }
    }
    let gone = before.services.iter().filter(|s| left.contains_key(&s.id));
    pairs.extend(gone.map(|gone| (Some(&**gone), None)));
    pairs
}

/// Whether both have the same services, by id, in the same order.
#[must_use]
pub fn have_same_places(before: &State, after: &State) -> bool {
    let same = |(was, is): (&Shared<Service>, &Shared<Service>)| was.is_same(is) || was.id == is.id;
    before.services.len() == after.services.len()
        && before.services.iter().zip(&after.services).all(same)
}

/// Makes services that are as they were the very same as those of the state before.
pub fn share(before: &State, after: &mut State) {
    let same_places = have_same_places(before, after);
    let by_id: HashMap<u32, &Shared<Service>> = if same_places {
        HashMap::new()
    } else {
        before.services.iter().map(|s| (s.id, s)).collect()
    };
    for (at, service) in after.services.iter_mut().enumerate() {
        let was =
            if same_places { before.services.get(at) } else { by_id.get(&service.id).copied() };
        if let Some(was) = was.filter(|was| !was.is_same(service) && *was == service) {
            *service = was.clone();
        }
    }
}

/// Whether a service differs only in words of its own backends and in its schedules: in weights, in what is quiesced, up or
/// down. Backends, their addresses and all settings of the service are as they were, so that nothing else is concerned.
#[must_use]
pub fn is_in_weights_only(before: &Service, after: &Service) -> bool {
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
        differing(before, after).into_iter().map(|(was, is)| (id(was), id(is))).collect()
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
            let (mut after, want) = (state(other), state(other));
            share(&before, &mut after);
            assert_eq!(after, want);
            for service in &after.services {
                let was = before.services.iter().find(|s| s.id == service.id).unwrap();
                assert_eq!(was.is_same(service), service.config.name != "y");
            }
        }
    }

    #[test]
    fn weights_are_no_matter_to_others() {
        let before = &state(&[(1, "a")]).services[0];
        let with = |change: &dyn Fn(&mut Service)| {
            let mut after = before.clone();
            change(&mut after);
            is_in_weights_only(before, &after)
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
