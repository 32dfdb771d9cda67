//! Schedules: the rings and members from which the datapath places new connections. Pure.
//!
//! A ring holds backend slots. For `rr` and `wrr` the datapath takes them in turn by one cursor, so that shares are exact
//! over any whole number of rounds, whichever CPUs make them; for `maglev` and `sh` it takes the place that a hash says. `lc`,
//! `wlc`, `rtt` and `xmitbyte` compare the members, and have a ring only for connections that are placed by hash in need.

use std::{collections::HashMap, net::IpAddr};

use dispatcher_common::service::{Schedule, scheduler};

use crate::model::Scheduler;

mod maglev;
mod rr;
mod table;
mod wrr;

pub use table::ScheduleTable;

/// A backend that takes new connections, if its weight is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Taker {
    /// Its slot.
    pub slot: u16,
    /// Its weight.
    pub weight: u32,
    /// Its own address, which is what it is known by beyond this dispatcher.
    pub address: IpAddr,
}

/// The schedule of a service with this many backends, of which `takers` take new connections, in their order. Empty where
/// none has a weight above 0.
#[must_use]
pub fn schedule(scheduler: Scheduler, takers: &[Taker], backends: usize) -> ScheduleTable {
    let shares: Vec<_> = takers.iter().map(|taker| (taker.slot, taker.weight)).collect();
    let ring = match scheduler {
        Scheduler::Rr | Scheduler::Lc | Scheduler::Rtt | Scheduler::Xmitbyte => rr::ring(&shares),
        Scheduler::Wrr | Scheduler::Wlc => wrr::ring(&shares),
        Scheduler::Maglev | Scheduler::Sh => maglev::ring(takers, backends),
    };
    ScheduleTable { ring, members: rr::ring(&shares) }
}

/// Schedules that were made before: most are wanted again, and a table takes long to make.
#[derive(Debug, Default)]
pub struct Schedules {
    /// By what they were made from; whether they were wanted since the last turn.
    made: HashMap<(u8, usize, Vec<Taker>), (bool, ScheduleTable)>,
}

impl Schedules {
    /// As [`schedule`].
    pub fn get(
        &mut self,
        scheduler: Scheduler,
        takers: &[Taker],
        backends: usize,
    ) -> ScheduleTable {
        let key = (scheduler as u8, backends, takers.to_vec());
        if let Some((is_wanted, table)) = self.made.get_mut(&key) {
            *is_wanted = true;
            return table.clone();
        }
        let table = schedule(scheduler, takers, backends);
        self.made.insert(key, (true, table.clone()));
        table
    }

    /// Forgets what was not wanted since this was last called.
    pub fn forget_unused(&mut self) {
        self.made.retain(|_, (is_wanted, _)| std::mem::take(is_wanted));
    }
}

/// Slots of the pool that the schedule for these weights takes, without making it.
#[must_use]
pub fn space(scheduler: Scheduler, weights: &[u32]) -> usize {
    let members = rr::length(weights);
    let length = match scheduler {
        Scheduler::Rr | Scheduler::Lc | Scheduler::Rtt | Scheduler::Xmitbyte => members,
        Scheduler::Wrr | Scheduler::Wlc => wrr::length(weights),
        Scheduler::Maglev | Scheduler::Sh if members == 0 => 0,
        Scheduler::Maglev | Scheduler::Sh => maglev::length(weights.len()),
    };
    Schedule::space(length, members)
}

/// The datapath's number of a scheduler.
#[must_use]
pub const fn number(scheduler: Scheduler) -> u8 {
    match scheduler {
        Scheduler::Rr | Scheduler::Wrr => scheduler::RING,
        Scheduler::Lc => scheduler::LEAST,
        Scheduler::Wlc => scheduler::WEIGHTED_LEAST,
        Scheduler::Maglev => scheduler::FLOW_HASH,
        Scheduler::Sh => scheduler::CLIENT_HASH,
        Scheduler::Rtt => scheduler::RESPONSE,
        Scheduler::Xmitbyte => scheduler::BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Choice as _;

    #[test]
    fn a_schedule_that_was_made_before_is_that_of_the_same_backends() {
        let taker = |slot, weight| Taker { slot, weight, address: [10, 0, 0, 1].into() };
        let mut schedules = Schedules::default();
        for _ in 0..3 {
            for scheduler in Scheduler::ALL {
                for takers in [vec![taker(1, 2), taker(2, 1)], vec![taker(1, 2)], vec![taker(3, 2)]]
                {
                    let wanted = schedule(*scheduler, &takers, takers.len());
                    assert_eq!(schedules.get(*scheduler, &takers, takers.len()), wanted);
                }
            }
            schedules.forget_unused();
            assert_eq!(schedules.made.len(), 3 * Scheduler::ALL.len());
        }
        schedules.get(Scheduler::Rr, &[taker(1, 2)], 1);
        schedules.forget_unused();
        assert_eq!(schedules.made.len(), 1, "what nobody wants is forgotten");
    }

    #[test]
    fn the_space_is_known_beforehand_and_members_come_once() {
        for scheduler in Scheduler::ALL {
            for weights in [&[4, 2, 0, 6][..], &[0, 0], &[], &[1]] {
                let address = |slot: u16| [10, 0, 0, slot as u8].into();
                let takers: Vec<_> = (1..)
                    .zip(weights)
                    .map(|(slot, weight)| Taker { slot, weight: *weight, address: address(slot) })
                    .collect();
                let table = schedule(*scheduler, &takers, takers.len());
                assert_eq!(table.space(), space(*scheduler, weights), "{scheduler} {weights:?}");
                let some = takers.iter().filter(|taker| taker.weight > 0);
                assert_eq!(table.members, some.map(|taker| taker.slot).collect::<Vec<_>>());
            }
        }
    }
}
