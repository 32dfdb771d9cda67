//! How do the maps come to say what the record says? All of them ([`Core::publish`]), or those of some services.
//!
//! Some are enough where all else is in force: when weights change, or what is up or quiesced, and when a neighbour has moved.
//! What that costs does not depend on how many services there are.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use dispatcher_common::net::address;

use super::{clock, core::Core};
use crate::{
    api::types::ApiError,
    dataplane::{
        connections::{ServiceTimeouts, Timeouts},
        tables::Tables,
    },
    model::{Record, RetiredSlot, Service, State},
    network::NetworkEvent,
    reconcile::{self, Nic},
};

/// Services whose maps were written.
pub(super) struct Written {
    /// Their places in the state.
    pub(super) places: Vec<usize>,
    /// The NICs there were.
    pub(super) nics: Vec<Nic>,
}

impl Core {
    /// Writes the difference between what the maps hold and what they should hold, and tells of backends what follows.
    ///
    /// # Errors
    /// Where the kernel refuses, or the schedule pool is full.
    pub(super) fn publish(&mut self) -> Result<(), ApiError> {
        let nics = self.table_nics();
        let written = self.write_all(&nics);
        self.in_force &= written.is_ok();
        written?;
        self.report_backends(&nics, None);
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
        let Some(addresses) = addresses.filter(|_| self.in_force) else { return self.publish() };
        let has_one = |service: &Service| {
            service.backends.iter().any(|backend| addresses.contains(&backend.config.address))
        };
        let services = &self.record.state.services;
        let places = (0..).zip(services).filter(|(_, service)| has_one(service));
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        // For most of them it is quicker to use what is known of all.
        if places.len() > services.len() / 2 {
            return self.publish();
        }
        match self.write_some(places)? {
            Some(written) => self.report_backends(&written.nics, Some(&written.places)),
            None => self.publish()?,
        }
        Ok(())
    }

    /// Writes the maps of services that differ from those of a former state in weights only, all else being in force. None,
    /// and nothing is written: it is not.
    ///
    /// # Errors
    /// As [`Core::publish`].
    pub(super) fn write_changed(&mut self, former: &State) -> Result<Option<Written>, ApiError> {
        let services = self.record.state.services.iter().zip(&former.services);
        let changed = (0..).zip(services).filter(|(_, (is, was))| is != was);
        self.write_some(changed.map(|(at, _)| at).collect())
    }

    fn write_some(&mut self, places: Vec<usize>) -> Result<Option<Written>, ApiError> {
        let nics = self.table_nics();
        let network = &self.network;
        let resolve = |address| network.resolution(address);
        let services = places.iter().filter_map(|at| self.record.state.services.get(*at));
        let services: Vec<&Service> = services.map(|service| &**service).collect();
        let connections = &self.record.applied.connections;
        let mut tables = reconcile::tables_of_some(&services, connections, &nics, &resolve);
        for (id, table) in &mut tables.services {
            // It has to do with addresses and settings, which have not changed.
            let held = self.datapath.contents().policies.get(*id as usize);
            table.affinity = held.map_or(0, |policy| policy.affinity);
        }
        self.set_active_rules(&mut tables);
        let written = self.datapath.publish_some(&tables);
        self.in_force &= written.is_ok();
        Ok(written?.then_some(Written { places, nics }))
    }

    fn write_all(&mut self, nics: &[Nic]) -> Result<(), ApiError> {
        let network = &self.network;
        let resolve = |address| network.resolution(address);
        let connections = &self.record.applied.connections;
        let schedules = &mut self.schedules;
        let mut tables =
            reconcile::tables(&self.record.state, connections, nics, &resolve, schedules);
        reconcile::lingering(&self.record.retired_slots, &mut tables);
        if self.has_wildcards() {
            tables.own_addresses = network.own_addresses().into_iter().map(address).collect();
        }
        self.set_active_rules(&mut tables);
        self.sweeper.set_timeouts(timeouts(&self.record));
        self.datapath.publish(&tables)?;
        Ok(())
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
