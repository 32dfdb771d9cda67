//! How long connections may be idle: timeouts by backend slot, in ticks.

use std::{sync::Arc, time::Duration};

use dispatcher_common::{
    connection::{EXPIRY_CLASSES, STAMP_BITS, State, Way},
    limits::MAX_SLOTS,
};

use crate::datapath::clock::ticks;

/// Ways with a stamp at most this many ticks in the future were touched after the sweep read the clock.
pub(super) const SLACK: u64 = 16;
/// Idle ticks that a stamp can express, less the slack.
pub(super) const HORIZON: u64 = (1 << STAMP_BITS) - SLACK;
/// The age of a class that does not expire.
const NEVER: u16 = u16::MAX;
/// Index of an unknown slot.
const UNKNOWN: u16 = 0;
/// Index of a slot whose backend was removed.
const GONE: u16 = 1;

/// Idle times of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Established connections and UDP flows.
    pub stale: Duration,
    /// Half-open connections.
    pub syn: Duration,
    /// Closing connections, once there are more than `fin_count`, and aborted ones.
    pub fin: Duration,
    /// Closing connections that are kept until `stale`.
    pub fin_count: u64,
}

/// Timeouts by slot. Connections of slots without timeouts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// By slot: index into `services`.
    slots: Vec<u16>,
    services: Vec<Option<ServiceTimeouts>>,
}

/// Least ages, in ticks, at which ways are removed.
#[derive(Debug)]
pub(super) struct Ages {
    timeouts: Arc<Timeouts>,
    /// Whether the table has room for closing connections that were established for long.
    has_room: bool,
    /// By service, as in [`Timeouts`].
    ages: Vec<[u16; EXPIRY_CLASSES]>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { slots: vec![UNKNOWN; MAX_SLOTS as usize], services: vec![None; 2] }
    }
}

impl Timeouts {
    /// Adds a service with its slots.
    pub fn service(&mut self, timeouts: ServiceTimeouts, slots: impl IntoIterator<Item = u32>) {
        let index = u16::try_from(self.services.len()).unwrap_or(UNKNOWN);
        self.services.push(Some(timeouts));
        for slot in slots {
            self.set(slot, index);
        }
    }

    /// Marks the backend of this slot as removed: all its connections are removed, however recent.
    pub fn gone(&mut self, slot: u32) {
        self.set(slot, GONE);
    }

    fn set(&mut self, slot: u32, index: u16) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = index;
        }
    }
}

impl Ages {
    /// Computes the ages from these timeouts, the number of closing connections of each slot, and whether the table has room.
    pub(super) fn new(
        timeouts: Arc<Timeouts>,
        has_room: bool,
        closing: impl Fn(u32) -> u32,
    ) -> Self {
        let mut of_services = vec![0_u64; timeouts.services.len()];
        for (slot, service) in (0..).zip(&timeouts.slots) {
            of_services[*service as usize] += u64::from(closing(slot));
        }
        let mut ages = vec![[NEVER; EXPIRY_CLASSES], [0; EXPIRY_CLASSES]];
        for (service, closing) in timeouts.services.iter().zip(of_services).skip(ages.len()) {
            ages.push(service.map_or([NEVER; EXPIRY_CLASSES], |service| service.ages(closing)));
        }
        Self { timeouts, has_room, ages }
    }

    /// Whether they were computed from these timeouts.
    pub(super) fn are_of(&self, timeouts: &Arc<Timeouts>) -> bool {
        Arc::ptr_eq(&self.timeouts, timeouts)
    }

    /// Least age of a way of this slot and [`dispatcher_common::connection::Way::expiry_class`]; 0: the backend is gone.
    #[inline]
    pub(super) fn of(&self, slot: u32, class: usize) -> u16 {
        // Slots have 14 bits and classes 3: both tables have an entry for each.
        self.ages[self.timeouts.slots[slot as usize] as usize][class]
    }

    /// Ticks for which a closing connection must have been established to be kept although there are more than `fin_count`;
    /// `None` if a way that is idle for `age` ticks is removed in any case.
    pub(super) fn spared_after(&self, way: Way, age: u64) -> Option<u64> {
        let of = |state: State| u64::from(self.of(way.slot(), tcp(state)));
        let may_be = way.is_tcp() && way.state() == State::Closing && self.has_room;
        (may_be && age < of(State::Established)).then(|| of(State::Aborted))
    }
}

/// The class of a state of TCP.
const fn tcp(state: State) -> usize {
    state as usize + EXPIRY_CLASSES / 2
}

impl ServiceTimeouts {
    fn ages(&self, closing: u64) -> [u16; EXPIRY_CLASSES] {
        // "Idle for longer than": the number of ticks must exceed the timeout.
        let age = |timeout| (ticks(timeout) + 1).min(HORIZON - 1) as u16;
        let (stale, syn) = (age(self.stale), age(self.syn));
        let fin = age(self.fin).min(stale);
        let mut ages = [stale; EXPIRY_CLASSES];
        ages[tcp(State::Aborted)] = fin;
        ages[tcp(State::HalfOpen)] = syn;
        if closing > self.fin_count {
            ages[tcp(State::Closing)] = fin;
        }
        ages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: ServiceTimeouts = ServiceTimeouts {
        stale: Duration::from_secs(300),
        syn: Duration::from_secs(30),
        fin: Duration::from_secs(43),
        fin_count: 10,
    };

    #[test]
    fn ticks_are_rounded_up() {
        for (ms, want) in [(0, 0), (1, 1), (4294, 1), (4295, 2), (30_000, 7), (300_000, 70)] {
            assert_eq!(ticks(Duration::from_millis(ms)), want, "{ms} ms");
        }
    }

    #[test]
    fn closing_connections_live_as_others_until_there_are_too_many() {
        let mut timeouts = Timeouts::default();
        timeouts.service(SERVICE, [5, 6]);
        timeouts.gone(9);
        let timeouts = Arc::new(timeouts);
        for (closing, want) in [(10, [8, 71, 71]), (11, [8, 71, 12])] {
            let of_slot = |slot| if slot == 6 { closing } else { 0 };
            let ages = Ages::new(Arc::clone(&timeouts), true, of_slot);
            assert_eq!(ages.of(6, 4), 12, "aborted");
            assert_eq!([5, 6, 7].map(|class| ages.of(6, class)), want);
            assert_eq!([1, 2, 3].map(|class| ages.of(5, class)), [71; 3]);
            assert_eq!((ages.of(9, 6), ages.of(7, 6)), (0, NEVER));
        }
    }

    #[test]
    fn closing_connections_are_spared_until_stale_timeout_while_there_is_room() {
        let mut timeouts = Timeouts::default();
        timeouts.service(SERVICE, [5]);
        let timeouts = Arc::new(timeouts);
        let (tcp, udp) = (1 << 63, 1 << 62);
        for (has_room, hash, state, age, want) in [
            (true, tcp, State::Closing, 12, Some(12)),
            (true, tcp, State::Closing, 70, Some(12)),
            (true, tcp, State::Closing, 71, None),
            (false, tcp, State::Closing, 12, None),
            (true, tcp, State::Aborted, 12, None),
            (true, tcp, State::Established, 12, None),
            (true, udp, State::Closing, 12, None),
        ] {
            let ages = Ages::new(Arc::clone(&timeouts), has_room, |_| 11);
            let way = Way::new(hash, 0, state, 5);
            assert_eq!(ages.spared_after(way, age), want, "{has_room} {state:?} {age}");
        }
    }

    #[test]
    fn a_timeout_beyond_the_stamp_is_cut() {
        let mut timeouts = Timeouts::default();
        timeouts.service(ServiceTimeouts { stale: Duration::MAX, ..SERVICE }, [1]);
        let ages = Ages::new(Arc::new(timeouts), true, |_| 0);
        assert_eq!(u64::from(ages.of(1, 6)), HORIZON - 1);
    }
}
