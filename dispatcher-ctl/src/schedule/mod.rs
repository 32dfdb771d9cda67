//! Schedules: the rings from which the datapath places new connections. Pure.
//!
//! A ring holds backend slots; the datapath takes them in turn by one cursor, so that shares are exact over any whole
//! number of rounds, whichever CPUs make them.

use crate::model::Scheduler;

mod rr;
mod wrr;

/// The ring of a service: `backends` are the slots and weights of those that take new connections, in their order.
/// Empty where none has a weight above 0.
#[must_use]
pub fn ring(scheduler: Scheduler, backends: &[(u16, u32)]) -> Vec<u16> {
    match scheduler {
        Scheduler::Rr => rr::ring(backends),
        Scheduler::Wrr => wrr::ring(backends),
    }
}

/// The length of the ring for these weights, without making it.
#[must_use]
pub fn ring_length(scheduler: Scheduler, weights: &[u32]) -> usize {
    match scheduler {
        Scheduler::Rr => rr::length(weights),
        Scheduler::Wrr => wrr::length(weights),
    }
}
