//! Free numbers: the lowest slot, service id and rule id that are not in use and that no connection points to.

use dispatcher_common::limits::{MAX_RULES, MAX_SERVICES, MAX_SLOTS};

use crate::{
    config::ConfigError,
    model::{RetiredSlot, State},
};

/// Numbers that may be assigned.
#[derive(Debug)]
pub(super) struct Ids {
    slots: Numbers,
    services: Numbers,
    rules: Numbers,
}

#[derive(Debug)]
struct Numbers {
    taken: Vec<bool>,
    next: usize,
}

impl Ids {
    /// All numbers but those of the running state (packets still find what is about to be removed) and retired ones. Slot 0
    /// is never used.
    pub(super) fn new(running: &State, retired: &[RetiredSlot]) -> Self {
        let mut ids = Self {
            slots: Numbers::new(MAX_SLOTS),
            services: Numbers::new(MAX_SERVICES),
            rules: Numbers::new(MAX_RULES),
        };
        ids.slots.take(0);
        for service in &running.services {
            ids.services.take(service.id);
            service.backends.iter().for_each(|backend| ids.slots.take(backend.slot));
            service.rules.iter().for_each(|rule| ids.rules.take(rule.id));
        }
        for retired in retired {
            ids.slots.take(retired.slot);
            ids.services.take(retired.service);
        }
        ids
    }

    /// A slot for a backend.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn slot(&mut self) -> Result<u32, ConfigError> {
        self.slots.give().ok_or_else(|| exhausted("backend slots", MAX_SLOTS - 1))
    }

    /// An id for a rule.
    ///
    /// # Errors
    /// There is none: those of removed rules are still in use.
    pub(super) fn rule(&mut self) -> Result<u32, ConfigError> {
        self.rules.give().ok_or_else(|| {
            let message =
                format!("all {MAX_RULES} rule ids are in use, some by rules to be removed");
            ConfigError::new("", message).with_hint("remove rules first, then add others")
        })
    }

    /// An id for a service.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn service(&mut self) -> Result<u32, ConfigError> {
        self.services.give().ok_or_else(|| exhausted("service ids", MAX_SERVICES))
    }
}

fn exhausted(what: &str, all: u32) -> ConfigError {
    let message = format!("all {all} {what} are in use or remembered by connections");
    ConfigError::new("", message).with_hint("connections of removed backends expire: try again")
}

impl Numbers {
    fn new(count: u32) -> Self {
        Self { taken: vec![false; count as usize], next: 0 }
    }

    fn take(&mut self, number: u32) {
        if let Some(taken) = self.taken.get_mut(number as usize) {
            *taken = true;
        }
    }

    fn give(&mut self) -> Option<u32> {
        let found = self.next + self.taken.get(self.next..)?.iter().position(|taken| !taken)?;
        self.taken[found] = true;
        self.next = found + 1;
        u32::try_from(found).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing::{backend, service};

    #[test]
    fn the_lowest_free_numbers_are_given() {
        let mut web = service("web", "192.0.2.80", 80);
        for slot in [1, 3] {
            let mut backend = backend(&format!("b{slot}"), "10.0.0.1");
            backend.slot = slot;
            web.backends.push(backend);
        }
        let running = State { services: vec![web.into()], ..State::default() };
        let retired = [RetiredSlot::new(4, 1)];
        let mut ids = Ids::new(&running, &retired);
        assert_eq!([(); 3].map(|()| ids.slot().unwrap()), [2, 5, 6]);
        assert_eq!([(); 2].map(|()| ids.service().unwrap()), [2, 3]);
    }

    #[test]
    fn when_nothing_is_left_it_is_said() {
        let mut ids = Ids::new(&State::default(), &[]);
        for _ in 1..MAX_SLOTS {
            ids.slot().unwrap();
        }
        assert_eq!(
            ids.slot().unwrap_err().to_string(),
            "all 16383 backend slots are in use or remembered by connections"
        );
        for _ in 0..MAX_SERVICES {
            ids.service().unwrap();
        }
        ids.service().unwrap_err();
    }
}
