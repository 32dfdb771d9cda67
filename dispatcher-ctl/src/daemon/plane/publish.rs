//! Makes the maps say what the record says.

use std::{collections::HashSet, net::IpAddr};

use dispatcher_common::net::address;

use super::timeouts::timeouts;
use crate::daemon::{core::Core, links::NextHops};
use crate::{
    api::types::ApiError,
    datapath::tables::Tables,
    model::{Record, Service},
    network::NetworkEvent,
    reconcile::{self, Dirty},
    schedule::Schedules,
};

impl Core {
    /// Writes the difference between what the maps hold and what they should hold, as far as it is dirty, and tells of backends
    /// what follows.
    ///
    /// # Errors
    /// Where the kernel refuses, or the schedule pool is full.
    pub(in crate::daemon) fn publish(&mut self, dirty: &Dirty) -> Result<(), ApiError> {
        let hops = self.links.next_hops();
        let (mut dirty, mut tables) = (dirty, self.tables(dirty, &hops));
        if !self.plane.datapath.holds(&tables) {
            // The maps are not as they were left: all of them are looked at.
            dirty = &Dirty::All;
            tables = self.tables(dirty, &hops);
        }
        if *dirty == Dirty::All {
            self.plane.sweeper.set_timeouts(timeouts(&self.record));
        }
        let written = self.plane.datapath.publish(&tables);
        self.in_force &= written.is_ok();
        written?;
        let services = dirty.services(&self.record.state);
        let is_part = *dirty != Dirty::All;
        self.reports.report_health(self.health.report(&services, &hops, is_part));
        Ok(())
    }

    /// As [`Core::publish`], after reports of the kernel: those of neighbours concern only the services that have them.
    ///
    /// # Errors
    /// As [`Core::publish`].
    pub(in crate::daemon) fn publish_moved(
        &mut self,
        events: &[NetworkEvent],
    ) -> Result<(), ApiError> {
        let moved = |event: &NetworkEvent| match event {
            NetworkEvent::ResolutionChanged { address, .. } => Some(*address),
            NetworkEvent::LinkChanged(_)
            | NetworkEvent::LinkGone { .. }
            | NetworkEvent::AddressGone { .. }
            | NetworkEvent::AddressesChanged
            | NetworkEvent::ReadAgain => None,
        };
        let addresses: Option<HashSet<IpAddr>> = events.iter().map(moved).collect();
        let Some(addresses) = addresses.filter(|_| self.in_force) else {
            return self.publish(&Dirty::All);
        };
        let has_one = |service: &Service| {
            service.backends.iter().any(|backend| addresses.contains(&backend.config.address))
        };
        let services = &self.record.state.services;
        let places = (0..).zip(services).filter(|(_, service)| has_one(service));
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        // For most of them it is quicker to use what is known of all.
        let is_most = places.len() > services.len() / 2;
        self.publish(&if is_most { Dirty::All } else { Dirty::Services(places) })
    }

    /// What the maps should hold of what is dirty.
    fn tables(&mut self, dirty: &Dirty, hops: &NextHops) -> Tables {
        let resolve = |address| hops.resolution(address);
        let Record { state, applied, retired_slots, .. } = &*self.record;
        // Schedules of single services come and go too often to be kept.
        let (all, mut some) = (&mut self.plane.schedules, Schedules::default());
        let schedules = if *dirty == Dirty::All { all } else { &mut some };
        let connections = &applied.connections;
        let mut tables =
            reconcile::tables(state, dirty, connections, hops.nics(), &resolve, schedules);
        if *dirty == Dirty::All {
            reconcile::lingering(retired_slots, &mut tables);
            if self.has_wildcards() {
                let own = self.links.network().own_addresses();
                tables.own_addresses = own.into_iter().map(address).collect();
            }
        }
        self.set_active_rules(&mut tables);
        tables
    }

    fn set_active_rules(&self, tables: &mut Tables) {
        if !tables.rules.is_empty() {
            let active = self.active_rules();
            for (id, rule) in &mut tables.rules {
                rule.active = active.get(id).copied().unwrap_or(rule.active);
            }
        }
    }

    /// Whether there are services on any address.
    pub(in crate::daemon) fn has_wildcards(&self) -> bool {
        self.state().services.iter().any(|service| service.config.vip.is_unspecified())
    }
}
