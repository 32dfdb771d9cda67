//! The weights in force: the manager's, if it may set them; less while a backend recovers.

use std::{collections::HashSet, time::Duration};

use crate::model::{Backend, Service, Shared, SlowStart, State};

/// Settles the weights of a service that has changed; `now_ms` is in milliseconds since the epoch.
///
/// Removes the manager's weights if the manager is off, or must not set the weight of a backend. A backend that was down and is
/// up now starts with a small weight, if its service has `slow_start`.
pub(super) fn settle_weights(
    former: Option<&Service>,
    service: &mut Service,
    is_managed: bool,
    now_ms: u64,
) {
    let Service { config, backends, .. } = service;
    let is_down = |b: &Backend| b.down || b.advised_down.is_some();
    let mut were_down = HashSet::new();
    if !config.slow_start.is_zero() {
        let former = former.iter().flat_map(|former| &former.backends);
        were_down = former.filter(|b| is_down(b)).map(|b| b.slot).collect();
    }
    for backend in backends {
        let may = is_managed && !backend.is_fixed() && backend.config.weight > 0;
        backend.managed = backend.managed.filter(|_| may).map(|w| w.min(config.weight_bound));
        if config.slow_start.is_zero() || is_down(backend) {
            backend.slow_start = None;
        } else if were_down.contains(&backend.slot) {
            backend.slow_start = Some(SlowStart { since_ms: now_ms, weight: 1 });
        }
    }
}

/// Updates the weights of recovering backends. Returns whether any weight has changed, or a backend has recovered.
pub fn come_back(state: &mut State, now_ms: u64) -> bool {
    let mut changed = false;
    let is_coming = |service: &&mut Shared<Service>| {
        service.backends.iter().any(|backend| backend.slow_start.is_some())
    };
    for service in state.services.iter_mut().filter(is_coming) {
        let Service { config, backends, .. } = &mut **service;
        for backend in backends {
            let Some(slow) = backend.slow_start else { continue };
            let weight = backend.weight();
            let elapsed = Duration::from_millis(now_ms.saturating_sub(slow.since_ms));
            backend.slow_start = (elapsed < config.slow_start).then(|| {
                let share = elapsed.as_secs_f64() / config.slow_start.as_secs_f64();
                let weight = f64::from(backend.whole_weight()) * share;
                SlowStart { weight: (weight as u32).max(1), ..slow }
            });
            changed |= weight != backend.weight() || backend.slow_start.is_none();
        }
    }
    changed
}

/// Delays the recovery of all recovering backends by this time.
pub fn delay(state: &mut State, by: Duration) {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    if by == 0 {
        return;
    }
    let is_coming = |service: &Service| service.backends.iter().any(|b| b.slow_start.is_some());
    state.change(is_coming, |service| {
        for slow in service.backends.iter_mut().filter_map(|backend| backend.slow_start.as_mut()) {
            slow.since_ms = slow.since_ms.saturating_add(by);
        }
    });
}

/// Whether any backend is recovering.
#[must_use]
pub fn is_coming_back(state: &State) -> bool {
    state.backends().any(|backend| backend.slow_start.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{
        Change,
        testing::{backend, service},
    };

    /// What becomes of a state that is to follow another.
    fn settled(before: &State, after: &State, now_ms: u64) -> State {
        Change::new(before, after.clone(), now_ms).state().clone()
    }

    /// A service with a backend that the manager gave 16, and which takes 10 s to come back.
    fn state() -> State {
        let mut web = service("web", "192.0.2.80", 80);
        web.config.slow_start = Duration::from_secs(10);
        let mut only = backend("web-1", "10.0.0.1");
        (only.slot, only.managed) = (1, Some(16));
        web.backends.push(only);
        let mut state = State { services: vec![web.into()], ..State::default() };
        state.manager.enabled = true;
        state
    }

    fn only(state: &mut State) -> &mut Backend {
        &mut state.services[0].backends[0]
    }

    #[test]
    fn one_that_is_delayed_goes_on_from_where_it_was() {
        let mut state = state();
        only(&mut state).slow_start = Some(SlowStart { since_ms: 1000, weight: 1 });
        come_back(&mut state, 6000);
        assert_eq!(only(&mut state).weight(), 8, "half of its time");
        delay(&mut state, Duration::from_secs(4));
        come_back(&mut state, 10_000);
        assert_eq!(only(&mut state).weight(), 8);
        come_back(&mut state, 12_500);
        assert_eq!(only(&mut state).weight(), 12);
    }

    #[test]
    fn the_manager_s_weight_goes_with_it() {
        let before = state();
        let weight = |change: &dyn Fn(&mut State)| {
            let mut after = before.clone();
            change(&mut after);
            only(&mut settled(&before, &after, 0)).weight()
        };
        assert_eq!(weight(&|_| {}), 16);
        assert_eq!(weight(&|state| state.manager.enabled = false), 10);
        assert_eq!(weight(&|state| only(state).config.fixed_weight = true), 10);
        assert_eq!(weight(&|state| only(state).weight_by_hand = true), 10);
        assert_eq!(weight(&|state| only(state).config.weight = 0), 0);
        assert_eq!(weight(&|state| state.services[0].config.weight_bound = 12), 12);
    }

    #[test]
    fn a_backend_that_was_down_recovers_gradually() {
        let mut down = state();
        only(&mut down).advised_down = Some("no answer".to_owned());
        down = settled(&state(), &down, 500);
        assert_eq!(only(&mut down).slow_start, None, "not while it is down");
        let mut up = down.clone();
        only(&mut up).advised_down = None;
        up = settled(&down, &up, 1000);
        assert!(is_coming_back(&up));
        let mut weights = vec![only(&mut up).weight()];
        for second in [1, 2, 5, 9, 10] {
            let before = up.clone();
            let changed = come_back(&mut up, 1000 + second * 1000);
            up = settled(&before, &up, 0);
            weights.push(only(&mut up).weight());
            let [.., was, is] = weights[..] else { unreachable!() };
            assert_eq!(changed, was != is, "after {second} s: {was} to {is}");
        }
        assert_eq!(weights, [1, 1, 3, 8, 14, 16]);
        assert!(!is_coming_back(&up));
    }

    #[test]
    fn without_slow_start_it_is_back_at_once() {
        let mut down = state();
        down.services[0].config.slow_start = Duration::ZERO;
        only(&mut down).down = true;
        let mut up = down.clone();
        only(&mut up).down = false;
        up = settled(&down, &up, 1000);
        assert_eq!(only(&mut up).weight(), 16);
    }
}
