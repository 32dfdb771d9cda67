//! Sweeps a part of the table: counts connections, and removes those that have been idle for too long.

use std::{ops::Range, sync::atomic::Ordering};

use dispatcher_common::{
    connection::{State, WAYS, Way},
    limits::MAX_SLOTS,
};

use super::{
    ConnectionTable,
    list::ticks_since,
    recount::Marks,
    timeouts::{Ages, HORIZON},
};

/// Ticks without a packet after which a connection is silent: at least one whole tick has passed then.
const SILENT_TICKS: u64 = 2;

/// Connections of one slot, as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// TCP: a SYN was seen.
    pub half_open: u32,
    /// TCP: the handshake was completed.
    pub established: u32,
    /// TCP: a FIN or RST was seen after that.
    pub closing: u32,
    /// TCP: a FIN or RST was seen before that.
    pub aborted: u32,
    /// UDP flows.
    pub udp: u32,
    /// Active TCP connections without traffic: the client has sent no payload, and no packet at all for two ticks. A client
    /// that only receives is not among them: it acknowledges.
    pub silent: u32,
}

impl SlotCounts {
    /// Active connections: those that the client has not ended.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.half_open + self.established + self.udp
    }

    /// All connections of the slot.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.active() + self.closing + self.aborted
    }

    pub(super) fn count(&mut self, way: Way, now: u64) {
        self.silent += u32::from(is_silent(way, now));
        let place = match (way.is_tcp(), way.state()) {
            (false, _) => &mut self.udp,
            (true, State::Aborted) => &mut self.aborted,
            (true, State::HalfOpen) => &mut self.half_open,
            (true, State::Established) => &mut self.established,
            (true, State::Closing) => &mut self.closing,
        };
        *place += 1;
    }
}

/// Connections removed, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Half-open for longer than `syn_timeout`.
    pub syn: u64,
    /// TCP, idle for longer than `stale_timeout`.
    pub stale: u64,
    /// Closing, removed early because there were more than `fin_count`, or aborted.
    pub fin: u64,
    /// UDP flows, idle for longer than `stale_timeout`.
    pub udp: u64,
    /// Their backend was removed.
    pub gone: u64,
}

impl Expired {
    pub(super) fn count(&mut self, way: Way, ages: &Ages) {
        let limit = |state: State| ages.of(way.slot(), state as usize + 4);
        let place = match (way.is_tcp(), way.state()) {
            _ if ages.of(way.slot(), way.expiry_class()) == 0 => &mut self.gone,
            (false, _) => &mut self.udp,
            (true, State::HalfOpen) => &mut self.syn,
            (true, State::Aborted) => &mut self.fin,
            (true, State::Closing) if limit(State::Closing) < limit(State::Established) => {
                &mut self.fin
            }
            (true, State::Established | State::Closing) => &mut self.stale,
        };
        *place += 1;
    }
}

/// The result of sweeping one or several parts.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// By slot.
    pub slots: Vec<SlotCounts>,
    /// Identifies the set of connections that was counted.
    pub(super) marks: Marks,
    /// Connections removed.
    pub expired: Expired,
}

impl Sweep {
    /// Counts a connection that stays.
    #[inline]
    pub(super) fn count(&mut self, way: Way, now: u64) {
        self.slots[way.slot() as usize].count(way, now);
        self.marks.add(way);
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            slots: vec![SlotCounts::default(); MAX_SLOTS as usize],
            marks: Marks::default(),
            expired: Expired::default(),
        }
    }
}

impl ConnectionTable {
    /// Counts a connection that was removed.
    pub(super) fn expire(&self, way: Way, ages: &Ages, sweep: &mut Sweep) {
        let before = sweep.expired.syn;
        sweep.expired.count(way, ages);
        if sweep.expired.syn != before
            && let Some(count) = self.unanswered.get(way.slot() as usize)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the connections of these buckets into `sweep`, and removes those that are too old at tick `now`.
    ///
    /// The datapath may change ways meanwhile: a way is removed only if it is unchanged since it was found idle.
    pub(super) fn sweep(&self, buckets: Range<usize>, now: u64, ages: &Ages, sweep: &mut Sweep) {
        let words = self.ways.words();
        let end = (buckets.end * WAYS).min(words.len());
        let first = buckets.start * WAYS;
        for (number, place) in (first..).zip(words.get(first..end).unwrap_or_default()) {
            let way = Way(place.load(Ordering::Relaxed));
            if way.0 == 0 {
                continue;
            }
            if is_expired(way, now, ages)
                && !self.is_spared(number, way, now, ages)
                && remove(place, way)
            {
                self.active.lower(way);
                self.expire(way, ages, sweep);
            } else {
                sweep.count(way, now);
            }
        }
    }

    /// Whether a closing connection that is due is kept because it was established for long: it may be alive, and somebody who
    /// filled `fin_count` may have forged its end. A connection without a record was never established.
    fn is_spared(&self, number: usize, way: Way, now: u64, ages: &Ages) -> bool {
        let age = way.age(now);
        let Some(least) = ages.spared_after(way, age) else { return false };
        let flow = self.flow_of(number).filter(|flow| way.matches(flow.hash(&self.hash_keys)));
        flow.is_some_and(|flow| ticks_since(now.wrapping_sub(age), flow.born()) >= least)
    }
}

fn remove(place: &std::sync::atomic::AtomicU64, way: Way) -> bool {
    place.compare_exchange(way.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Whether a connection is active and without traffic.
#[inline]
fn is_silent(way: Way, now: u64) -> bool {
    let is_open = match way.state() {
        State::HalfOpen => true,
        State::Established => !way.is_marked(),
        State::Aborted | State::Closing => false,
    };
    is_open && way.is_tcp() && (SILENT_TICKS..HORIZON).contains(&way.age(now))
}

/// Whether a way is due. A way that was touched after `now` was read seems to have almost the greatest age that a stamp can
/// express: it is not due.
#[inline]
pub(super) fn is_expired(way: Way, now: u64, ages: &Ages) -> bool {
    let (age, least) = (way.age(now), u64::from(ages.of(way.slot(), way.expiry_class())));
    age >= least && (age < HORIZON || least == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::connections::{ServiceTimeouts, Timeouts};
    use std::{sync::Arc, time::Duration};

    /// Slot 3 has 300 s, 30 s, 30 s; slot 4 is gone; slot 5 unknown.
    fn timeouts() -> Timeouts {
        let mut timeouts = Timeouts::default();
        let service = ServiceTimeouts {
            stale: Duration::from_secs(300),
            syn: Duration::from_secs(30),
            fin: Duration::from_secs(30),
            fin_count: 0,
        };
        timeouts.service(service, [3]);
        timeouts.gone(4);
        timeouts
    }

    #[test]
    fn a_way_is_due_when_its_timeout_has_passed_and_not_when_it_is_from_the_future() {
        let (timeouts, tcp, udp) = (timeouts(), 1 << 63, 1 << 62);
        let ages = Ages::new(Arc::new(timeouts), true, |_| 0);
        let due = |hash, state, slot, stamp: u64, now| {
            is_expired(Way::new(hash, stamp, state, slot), now, &ages)
        };
        for now in [100, 4095, 4096, 10_000_000] {
            let cases = [
                (tcp, State::HalfOpen, 3, 7, false),
                (tcp, State::HalfOpen, 3, 8, true),
                (tcp, State::Established, 3, 70, false),
                (tcp, State::Established, 3, 71, true),
                (tcp, State::Established, 3, 4079, true),
                (udp, State::HalfOpen, 3, 8, false),
                (udp, State::Established, 3, 71, true),
                (tcp, State::Established, 4, 0, true),
                (tcp, State::Established, 5, 4000, false),
            ];
            for (hash, state, slot, age, want) in cases {
                let stamp = u64::wrapping_sub(now, age);
                assert_eq!(due(hash, state, slot, stamp, now), want, "{state:?} {slot} {age}");
            }
            assert!(!due(tcp, State::Established, 3, now + 1, now), "touched since");
        }
    }

    #[test]
    fn a_connection_without_payload_that_is_idle_is_silent() {
        let (tcp, udp) = (1 << 63, 1 << 62);
        for (hash, state, age, unmarked, marked) in [
            (tcp, State::HalfOpen, 1, false, false),
            (tcp, State::HalfOpen, 2, true, true),
            (tcp, State::Established, 1, false, false),
            (tcp, State::Established, 2, true, false),
            (tcp, State::Established, 69, true, false),
            (tcp, State::Closing, 69, false, false),
            (tcp, State::Aborted, 69, false, false),
            (udp, State::Established, 69, false, false),
        ] {
            let way = Way::new(hash, 1000, state, 3);
            let silent = [way, way.marked()].map(|way| is_silent(way, 1000 + age));
            assert_eq!(silent, [unmarked, marked], "{hash:x} {state:?} {age}");
            assert!(!is_silent(way, 999), "touched since");
        }
    }

    #[test]
    fn causes_are_told_apart() {
        let timeouts = Arc::new(timeouts());
        let mut expired = Expired::default();
        for closing in [0, 1] {
            let closing = |slot| u32::from(slot == 3) * closing;
            let ages = Ages::new(Arc::clone(&timeouts), true, closing);
            for (hash, state, slot) in [
                (1 << 63, State::HalfOpen, 3),
                (1 << 63, State::Established, 3),
                (1 << 63, State::Closing, 3),
                (1 << 63, State::Aborted, 3),
                (1 << 62, State::Established, 3),
                (1 << 62, State::Established, 4),
            ] {
                expired.count(Way::new(hash, 0, state, slot), &ages);
            }
        }
        assert_eq!(expired, Expired { syn: 2, stale: 3, fin: 3, udp: 2, gone: 2 });
    }
}
