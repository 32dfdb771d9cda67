//! A schedule as slots, and its layout in the datapath's pool.

use std::collections::BTreeSet;

use dispatcher_common::service::Schedule;

/// A service's schedule: slots of backends that take its new connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleTable {
    /// The ring: slots, as often as the scheduler has them.
    pub ring: Vec<u16>,
    /// Each of them once, in the service's order.
    pub members: Vec<u16>,
}

impl ScheduleTable {
    /// Ring slots it takes in the pool.
    #[must_use]
    pub fn space(&self) -> usize {
        Schedule::space(self.ring.len(), self.members.len())
    }

    /// Its layout in the pool: the ring, the number of members, the members.
    #[must_use]
    pub fn words(&self) -> Vec<u16> {
        if self.ring.is_empty() {
            return Vec::new();
        }
        [&self.ring[..], &[self.members.len() as u16], &self.members].concat()
    }

    /// What is left of it without these slots.
    #[must_use]
    pub fn without(&self, slots: &BTreeSet<u16>) -> Self {
        let rest = |of: &[u16]| of.iter().copied().filter(|slot| !slots.contains(slot)).collect();
        Self { ring: rest(&self.ring), members: rest(&self.members) }
    }
}
