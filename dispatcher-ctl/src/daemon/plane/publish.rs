//! Writes the running state to the maps.

use dispatcher_common::net::address;

use super::{Plane, timeouts::timeouts};
use crate::{
    api::types::ApiError,
    daemon::links::NextHops,
    datapath::{DatapathError, tables::Tables},
    model::{SavedState, State},
    network::Network,
    reconcile::{self, Dirty},
    schedule::Schedules,
};

impl Plane {
    /// Writes the difference between what the maps hold and what they should hold, as far as it is dirty. Returns what was
    /// compared: everything, if the maps were not as they were left.
    ///
    /// # Errors
    /// When the kernel refuses, or the schedule pool is full.
    pub(in crate::daemon) fn publish<'d>(
        &mut self,
        saved: &SavedState,
        dirty: &'d Dirty,
        hops: &NextHops,
        network: &Network,
    ) -> Result<&'d Dirty, ApiError> {
        if *dirty == Dirty::All {
            self.sweeper.set_timeouts(timeouts(saved));
        }
        let tables = self.tables(saved, dirty, hops, network);
        match self.datapath.publish(&tables) {
            Err(DatapathError::NotInForce) if *dirty != Dirty::All => {
                self.publish(saved, &Dirty::All, hops, network)
            }
            written => Ok(written.map(|_| dirty)?),
        }
    }

    /// The desired content of the dirty part of the maps.
    fn tables(
        &mut self,
        saved: &SavedState,
        dirty: &Dirty,
        hops: &NextHops,
        network: &Network,
    ) -> Tables {
        let resolve = |address| hops.resolution(address);
        let SavedState { state, applied, retired_slots, .. } = saved;
        // Schedules of single services change too often to be kept.
        let (all, mut some) = (&mut self.schedules, Schedules::default());
        let schedules = if *dirty == Dirty::All { all } else { &mut some };
        let connections = &applied.connections;
        let mut tables =
            reconcile::tables(state, dirty, connections, hops.nics(), &resolve, schedules);
        if *dirty == Dirty::All {
            reconcile::lingering(retired_slots, &mut tables);
            if state.has_wildcards() {
                tables.own_addresses = network.own_addresses().into_iter().map(address).collect();
            }
        }
        self.set_active_rules(state, &mut tables);
        tables
    }

    fn set_active_rules(&self, state: &State, tables: &mut Tables) {
        if !tables.rules.is_empty() {
            let active = self.active_rules(state);
            for (id, rule) in &mut tables.rules {
                rule.active = active.get(id).copied().unwrap_or(rule.active);
            }
        }
    }
}
