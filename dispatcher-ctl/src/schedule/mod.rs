//! Schedules: the rings and members from which the datapath places new connections. Pure.
//!
//! A ring holds backend slots; the datapath takes them in turn by one cursor, so that shares are exact over any whole
//! number of rounds, whichever CPUs make them.

use dispatcher_common::service::Schedule;

use crate::{dataplane::tables::ScheduleTable, model::Scheduler};

mod rr;
mod wrr;

/// The schedule of a service: `backends` are the slots and weights of those that take new connections, in their order.
/// Empty where none has a weight above 0.
#[must_use]
pub fn schedule(scheduler: Scheduler, backends: &[(u16, u32)]) -> ScheduleTable {
    let takers = backends.iter().filter(|(_, weight)| *weight > 0);
    let members = takers.map(|(slot, _)| *slot).collect();
    ScheduleTable { ring: ring(scheduler, backends), members }
}

fn ring(scheduler: Scheduler, backends: &[(u16, u32)]) -> Vec<u16> {
    match scheduler {
        Scheduler::Rr => rr::ring(backends),
        Scheduler::Wrr => wrr::ring(backends),
    }
}

/// Slots of the pool that the schedule for these weights takes, without making it.
#[must_use]
pub fn space(scheduler: Scheduler, weights: &[u32]) -> usize {
    let length = match scheduler {
        Scheduler::Rr => rr::length(weights),
        Scheduler::Wrr => wrr::length(weights),
    };
    Schedule::space(length, weights.iter().filter(|weight| **weight > 0).count())
}
