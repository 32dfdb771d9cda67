//! The wanted tables of a publication, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher_common::{
    flow::filter_bit_of,
    limits::ADDRESS_FILTER_BITS,
    net::{self, Address},
    service::{ANY, OWN},
};

use super::{
    contents::Contents,
    write::{KeyBytes, key_bytes},
};
use crate::datapath::tables::Tables;

/// The owner of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A rule, by its id.
    Rule(u32),
    /// A service, by its id.
    Service(u32),
}

/// The wanted tables, with what follows from them.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) tables: &'a Tables,
    /// Service id by key.
    pub(super) keys: BTreeMap<KeyBytes, u32>,
    /// Number of services by VIP; [`OWN`] for own addresses that are no VIPs.
    pub(super) vips: BTreeMap<Address, u32>,
    /// Families with services on any address.
    pub(super) wildcards: u64,
    /// Words of the address filter, by position.
    pub(super) filter: BTreeMap<usize, u64>,
}

impl<'a> Wanted<'a> {
    /// Works out keys, VIPs and filter bits.
    pub(super) fn new(tables: &'a Tables) -> Self {
        let mut wanted = Self {
            tables,
            keys: BTreeMap::new(),
            vips: BTreeMap::new(),
            wildcards: 0,
            filter: BTreeMap::new(),
        };
        for (id, service) in &tables.services {
            wanted.keys.insert(key_bytes(&service.key), *id);
            if service.key.any == ANY {
                wanted.wildcards |= family(&service.key.vip);
                continue;
            }
            *wanted.vips.entry(service.key.vip).or_default() += 1;
            let bit = filter_bit_of(&service.key.vip) as usize;
            *wanted.filter.entry(bit / 64).or_default() |= 1 << (bit % 64);
        }
        for address in &tables.own_addresses {
            wanted.vips.entry(*address).or_insert(OWN);
        }
        if wanted.wildcards != 0 {
            // They serve any address.
            wanted.filter = (0..ADDRESS_FILTER_BITS as usize / 64).map(|i| (i, u64::MAX)).collect();
        }
        wanted
    }

    /// Slots that belong to one service and are wanted for another.
    pub(super) fn given_away(&self, now: &Contents) -> BTreeSet<u16> {
        let moved = self.tables.backends.iter().filter(|(slot, backend)| {
            let held = &now.backends[**slot as usize];
            held.forward != 0 && held.service != backend.service
        });
        moved.map(|(slot, _)| *slot as u16).collect()
    }
}

/// A family's bit of [`dispatcher_common::settings::Settings::wildcards`].
fn family(address: &Address) -> u64 {
    if net::is_v4(address) { 1 } else { 2 }
}
