//! Publishes to the datapath, and reports what follows for backends.

use std::{collections::HashSet, net::IpAddr};

use super::core::Core;
use crate::{api::types::ApiError, model::Service, network::NetworkEvent, reconcile::Dirty};

impl Core {
    /// Writes the dirty part of the saved state to the maps, and reports what follows for backends.
    ///
    /// # Errors
    /// Where the kernel refuses, or the schedule pool is full.
    pub(super) fn publish(&mut self, dirty: &Dirty) -> Result<(), ApiError> {
        let hops = self.links.next_hops();
        let written = self.plane.publish(&self.store, dirty, &hops, self.links.network());
        self.in_force &= written.is_ok();
        let dirty = written?;
        let services = dirty.services(&self.store.state);
        let is_part = *dirty != Dirty::All;
        self.reports.report_health(self.health.report(&services, &hops, is_part));
        Ok(())
    }

    /// As [`Core::publish`], after reports of the kernel: those of neighbours concern only the services that have them.
    ///
    /// # Errors
    /// As [`Core::publish`].
    pub(super) fn publish_moved(&mut self, events: &[NetworkEvent]) -> Result<(), ApiError> {
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
        let services = &self.store.state.services;
        let places = (0..).zip(services).filter(|(_, service)| has_one(service));
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        // For most of them it is quicker to use what is known of all.
        let is_most = places.len() > services.len() / 2;
        self.publish(&if is_most { Dirty::All } else { Dirty::Services(places) })
    }
}
