//! The kernel's maps as a [`TableStore`].

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dispatcher_common::{
    maps,
    rule::{Condition, RuleSet},
    service::Schedule,
};

use super::{
    bpf::{self, Map},
    error::DatapathError,
    mapped::{words, words_mut},
    maps::MapSet,
    publish::{Array, Contents, TableStore, Write},
};

/// Writes to the pinned maps.
#[derive(Debug)]
pub(super) struct KernelStore {
    maps: Arc<MapSet>,
}

impl KernelStore {
    pub(super) const fn new(maps: Arc<MapSet>) -> Self {
        Self { maps }
    }

    /// Ifindices of `DEVICES` by interface index.
    fn devices(&self, contents: &mut Contents) -> Result<(), DatapathError> {
        let devices = &self.maps.devices;
        let mut value = vec![0; devices.transfer()];
        contents.devices.clear();
        for index in 0..contents.interfaces.len() {
            let key = (index as u32).to_ne_bytes();
            let found = devices
                .lookup(&key, &mut value)
                .map_err(DatapathError::map(maps::DEVICES, "read it"))?;
            let ifindex = value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            if found && ifindex != 0 {
                contents.devices.insert(index as u8, ifindex);
            }
        }
        Ok(())
    }

    fn set_device(&self, index: u8, ifindex: Option<u32>) -> io::Result<()> {
        let devices = &self.maps.devices;
        let key = u32::from(index).to_ne_bytes();
        match ifindex {
            // The value is an ifindex, followed by a program for the outgoing side, which is not used.
            Some(ifindex) => {
                let mut value = vec![0; devices.transfer()];
                for (to, from) in value.iter_mut().zip(ifindex.to_ne_bytes()) {
                    *to = from;
                }
                devices.update(&key, &value)
            }
            None => devices.delete(&key).map(drop),
        }
    }

    /// The words of an array.
    fn array(&self, array: Array) -> &[AtomicU64] {
        let maps = &*self.maps;
        match array {
            Array::Settings => maps.settings.words(),
            Array::Interfaces => maps.interfaces.words(),
            Array::Backends => maps.backends.words(),
            Array::Policies => maps.policies.words(),
            Array::Rules => maps.rules.words(),
            Array::AddressFilter => maps.address_filter.words(),
        }
    }

    fn reset_slot(&self, slot: u32) -> Result<(), DatapathError> {
        clear(self.maps.windows.entry(slot as usize), maps::WINDOWS, slot)?;
        if let Some(responses) = self.maps.measurement.slots() {
            zero(&responses, slot)
                .map_err(DatapathError::map(maps::RESPONSES_SLOTS, "reset it"))?;
        }
        zero(&self.maps.backend_counts, slot)
            .map_err(DatapathError::map(maps::BACKEND_COUNTS, "reset it"))
    }

    fn reset_service(&self, service: u32) -> Result<(), DatapathError> {
        let state = self.maps.service_state.entry(service as usize);
        clear(state, maps::SERVICE_STATE, service)?;
        zero(&self.maps.service_counts, service)
            .map_err(DatapathError::map(maps::SERVICE_COUNTS, "reset it"))
    }

    fn write_conditions(&self, offset: u32, records: &[Condition]) -> Result<(), DatapathError> {
        let (start, from) = (offset as usize * CONDITION_WORDS, words(records));
        let space = self.maps.conditions.words().get(start..start + from.len());
        for (to, from) in space.ok_or_else(|| outside(maps::CONDITIONS, offset))?.iter().zip(from) {
            to.store(*from, Ordering::Release);
        }
        Ok(())
    }

    fn read_conditions(&self, set: RuleSet, contents: &mut Contents) {
        let (start, count) = (set.offset() as usize, set.count() as usize);
        let range = start * CONDITION_WORDS..(start + count) * CONDITION_WORDS;
        let held = words_mut(&mut contents.conditions).get_mut(range.clone());
        let mapped = self.maps.conditions.words().get(range);
        read_words(held.unwrap_or_default(), mapped.unwrap_or_default());
    }

    fn write_ring(&self, offset: u32, words: &[u16]) -> Result<(), DatapathError> {
        let start = offset as usize;
        let space = self.maps.schedules.halves().get(start..start + words.len());
        let space = space.ok_or_else(|| outside(maps::SCHEDULES, offset))?;
        for (to, from) in space.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads a schedule: first its ring and the number of members, then the members.
    fn read_schedule(&self, schedule: Schedule, contents: &mut Contents) {
        if schedule.length() == 0 {
            return;
        }
        let start = schedule.offset() as usize;
        let ring_end = start + schedule.length() as usize + 1;
        self.read_pool(start..ring_end, contents);
        let members = contents.schedules.get(ring_end - 1).copied().unwrap_or_default();
        self.read_pool(ring_end..ring_end + usize::from(members), contents);
    }

    fn read_pool(&self, range: Range<usize>, contents: &mut Contents) {
        let held = contents.schedules.get_mut(range.clone()).into_iter().flatten();
        let mapped = self.maps.schedules.halves().get(range).into_iter().flatten();
        for (to, from) in held.zip(mapped) {
            *to = from.load(Ordering::Relaxed);
        }
    }
}

impl TableStore for KernelStore {
    fn read(&self) -> Result<Contents, DatapathError> {
        let mut contents = Contents::empty();
        let maps = &self.maps;
        for array in Array::ALL {
            read_words(contents.array(array), self.array(array));
        }
        contents.is_measuring = maps.measurement.is_on();
        for id in 0..contents.policies.len() {
            self.read_conditions(contents.rule_set(id as u32), &mut contents);
        }
        let schedules = contents.all_schedules().chain(contents.rule_schedules());
        for schedule in schedules.collect::<Vec<_>>() {
            self.read_schedule(schedule, &mut contents);
        }
        contents.services = pairs(&maps.services, maps::SERVICES)?;
        contents.vips = pairs(&maps.vips, maps::VIPS)?;
        contents.peers = peers(&maps.peers)?;
        self.devices(&mut contents)?;
        Ok(contents)
    }

    fn refresh(&self, contents: &mut Contents) -> Result<(), DatapathError> {
        self.devices(contents)
    }

    fn apply(&mut self, write: &Write) -> Result<(), DatapathError> {
        let maps = &*self.maps;
        match *write {
            Write::Word { array, index, word, value } => {
                let place = self.array(array).get(array.position(index, word));
                // Release: what was written before is visible before it.
                let place = place.ok_or_else(|| outside(array.name(), index))?;
                place.store(value, Ordering::Release);
                Ok(())
            }
            Write::Measuring { on: true } => maps.measurement.start(),
            Write::Measuring { on: false } => maps.measurement.stop(),
            Write::Device { index, ifindex } => self
                .set_device(index, ifindex)
                .map_err(DatapathError::map(maps::DEVICES, "write it")),
            Write::ResetSlot { slot } => self.reset_slot(slot),
            Write::ResetService { service } => self.reset_service(service),
            Write::Peer { service, slot, peer } => {
                put(&maps.peers, &peer_bytes(service, slot), peer)
                    .map_err(DatapathError::map(maps::PEERS, "write it"))
            }
            Write::Ring { offset, ref words } => self.write_ring(offset, words),
            Write::Conditions { offset, ref records } => self.write_conditions(offset, records),
            Write::Service { key, service } => put(&maps.services, &key, service)
                .map_err(DatapathError::map(maps::SERVICES, "write it")),
            Write::Vip { vip, services } => {
                put(&maps.vips, &vip, (services > 0).then_some(services))
                    .map_err(DatapathError::map(maps::VIPS, "write it"))
            }
        }
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        bpf::wait_for_readers()
    }
}

/// Words of a condition.
const CONDITION_WORDS: usize = size_of::<Condition>() / 8;

fn read_words(to: &mut [u64], from: &[AtomicU64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.load(Ordering::Acquire);
    }
}

/// Sets the words of an entry to zero.
fn clear(entry: Option<&[AtomicU64]>, map: &'static str, index: u32) -> Result<(), DatapathError> {
    let entry = entry.ok_or_else(|| outside(map, index))?;
    entry.iter().for_each(|word| word.store(0, Ordering::Release));
    Ok(())
}

fn outside(map: &'static str, index: u32) -> DatapathError {
    let text = format!("index {index} is outside of it");
    DatapathError::map(map, "write it")(io::Error::other(text))
}

/// Sets a per-CPU value to zero on every CPU.
fn zero(map: &Map, index: u32) -> io::Result<()> {
    map.update(&index.to_ne_bytes(), &vec![0; map.transfer()])
}

fn put(map: &Map, key: &[u8], value: Option<u32>) -> io::Result<()> {
    match value {
        Some(value) => map.update(key, &value.to_ne_bytes()),
        None => map.delete(key).map(drop),
    }
}

/// A [`dispatcher_common::service::PeerKey`] as bytes.
const fn peer_bytes(service: u32, slot: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (service.to_ne_bytes(), slot.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

fn peers(map: &Map) -> Result<std::collections::BTreeMap<(u32, u32), u32>, DatapathError> {
    let parts = |([a, b, c, d, e, f, g, h], peer): ([u8; 8], u32)| {
        ((u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])), peer)
    };
    Ok(pairs(map, maps::PEERS)?.into_iter().map(parts).collect())
}

fn pairs<K: Ord + for<'a> TryFrom<&'a [u8]>>(
    map: &Map,
    name: &'static str,
) -> Result<std::collections::BTreeMap<K, u32>, DatapathError> {
    let failed = || DatapathError::map(name, "read it");
    let mut pairs = std::collections::BTreeMap::new();
    for key in map.keys().map_err(failed())? {
        let mut value = [0; 4];
        let found = map.lookup(&key, &mut value).map_err(failed())?;
        if let (true, Ok(key)) = (found, K::try_from(&key)) {
            pairs.insert(key, u32::from_ne_bytes(value));
        }
    }
    Ok(pairs)
}
