//! Makes the maps say what the record says.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use dispatcher_common::net::address;

use super::{clock, core::Core, start::failed};
use crate::{
    api::types::ApiError,
    dataplane::{
        connections::{ServiceTimeouts, Timeouts},
        tables::Tables,
    },
    model::{Record, RetiredSlot, Service},
    network::NetworkEvent,
    reconcile::{self, Dirty, Nic},
    schedule::Schedules,
};

impl Core {
    /// Writes the difference between what the maps hold and what they should hold, as far as it is dirty, and tells of backends
    /// what follows.
    ///
    /// # Errors
    /// Where the kernel refuses, or the schedule pool is full.
    pub(super) fn publish(&mut self, dirty: &Dirty) -> Result<(), ApiError> {
        let nics = self.table_nics();
        let (mut dirty, mut tables) = (dirty, self.tables(dirty, &nics));
        if !self.datapath.holds(&tables) {
            // The maps are not as they were left: all of them are looked at.
            dirty = &Dirty::All;
            tables = self.tables(dirty, &nics);
        }
        if *dirty == Dirty::All {
            self.sweeper.set_timeouts(timeouts(&self.record));
        }
        let written = self.datapath.publish(&tables).map_err(|e| failed(&e));
        self.in_force &= written.is_ok();
        written?;
        self.report_backends(&nics, dirty.places());
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
            | NetworkEvent::ReadAnew => None,
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
    fn tables(&mut self, dirty: &Dirty, nics: &[Nic]) -> Tables {
        let network = &self.network;
        let resolve = |address| network.resolution(address);
        let Record { state, applied, retired_slots, .. } = &*self.record;
        // Schedules of single services come and go too often to be kept.
        let (all, mut some) = (&mut self.schedules, Schedules::default());
        let schedules = if *dirty == Dirty::All { all } else { &mut some };
        let connections = &applied.connections;
        let mut tables = reconcile::tables(state, dirty, connections, nics, &resolve, schedules);
        if *dirty == Dirty::All {
            reconcile::lingering(retired_slots, &mut tables);
            if self.has_wildcards() {
                tables.own_addresses = network.own_addresses().into_iter().map(address).collect();
            }
        }
        self.set_active_rules(&mut tables);
        tables
    }

    fn set_active_rules(&self, tables: &mut Tables) {
        if !tables.rules.is_empty() {
            let active = self.active_rules(clock::local());
            for (id, rule) in &mut tables.rules {
                rule.active = active.get(id).copied().unwrap_or(rule.active);
            }
        }
    }

    /// Whether there are services on any address.
    pub(super) fn has_wildcards(&self) -> bool {
        self.state().services.iter().any(|service| service.config.vip.is_unspecified())
    }
}

/// How long connections may be idle, by slot.
pub(super) fn timeouts(record: &Record) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for service in &record.state.services {
        let config = &service.config;
        let of_service = ServiceTimeouts {
            stale: config.stale_timeout,
            syn: config.syn_timeout,
            fin: config.fin_timeout,
            fin_count: config.fin_count,
        };
        timeouts.service(of_service, service.backends.iter().map(|b| b.slot));
    }
    for RetiredSlot { slot, lingers, .. } in &record.retired_slots {
        if lingers.is_zero() {
            timeouts.gone(*slot);
        } else {
            timeouts.service(lingering(*lingers), [*slot]);
        }
    }
    timeouts
}

/// For connections of a removed backend whose clients are to be told: those that were told are closing, and are kept until
/// the RST has surely come.
fn lingering(stale: Duration) -> ServiceTimeouts {
    const TOLD: Duration = Duration::from_secs(30);
    ServiceTimeouts { stale, syn: stale.min(TOLD), fin: stale.min(TOLD), fin_count: 0 }
}
