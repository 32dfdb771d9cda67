//! The kernel's maps as a [`TableStore`].

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    connection::EXPIRY_CLASSES,
    maps,
    measure::MeasureWindow,
    rule::{Condition, Rule, RuleSet},
    service::{Policy, Schedule, ServiceState},
    settings::Settings,
};

use super::{
    bpf::{self, Map},
    error::DataplaneError,
    mapped::Mapped,
    maps::MapSet,
    publish::{Contents, TableStore, Write},
};

/// Index of a field's word within its value.
macro_rules! word_of {
    ($type:ty, $field:ident) => {
        std::mem::offset_of!($type, $field) / 8
    };
}

/// Writes go to the pinned maps.
#[derive(Debug)]
pub(super) struct KernelStore {
    maps: Arc<MapSet>,
}

impl KernelStore {
    pub(super) const fn new(maps: Arc<MapSet>) -> Self {
        Self { maps }
    }

    /// Ifindices of `DEVICES` by interface index.
    fn devices(&self, contents: &mut Contents) -> Result<(), DataplaneError> {
        let devices = &self.maps.devices;
        let mut value = vec![0; devices.transfer()];
        contents.devices.clear();
        for index in 0..contents.interfaces.len() {
            let key = (index as u32).to_ne_bytes();
            let found = devices
                .lookup(&key, &mut value)
                .map_err(DataplaneError::map(maps::DEVICES, "read it"))?;
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
            // The value is an ifindex, and a program for the outgoing side that is not used.
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

    fn reset_slot(&self, slot: u32) -> Result<(), DataplaneError> {
        for word in 0..size_of::<MeasureWindow>() / 8 {
            store(&self.maps.windows, slot, word, 0, maps::WINDOWS)?;
        }
        if let Some(responses) = self.maps.measurement.slots() {
            zero(&responses, slot)
                .map_err(DataplaneError::map(maps::RESPONSES_SLOTS, "reset it"))?;
        }
        zero(&self.maps.backend_counts, slot)
            .map_err(DataplaneError::map(maps::BACKEND_COUNTS, "reset it"))
    }

    fn reset_service(&self, service: u32) -> Result<(), DataplaneError> {
        for word in 0..size_of::<ServiceState>() / 8 {
            store(&self.maps.service_state, service, word, 0, maps::SERVICE_STATE)?;
        }
        zero(&self.maps.service_counts, service)
            .map_err(DataplaneError::map(maps::SERVICE_COUNTS, "reset it"))
    }

    fn reset_rule(&self, rule: u32) -> Result<(), DataplaneError> {
        for word in [word_of!(Rule, cursor), word_of!(Rule, connections)] {
            store(&self.maps.rules, rule, word, 0, maps::RULES)?;
        }
        Ok(())
    }

    fn write_conditions(&self, offset: u32, records: &[Condition]) -> Result<(), DataplaneError> {
        for (index, record) in (offset..).zip(records) {
            for (word, value) in condition_words(record).into_iter().enumerate() {
                store(&self.maps.conditions, index, word, value, maps::CONDITIONS)?;
            }
        }
        Ok(())
    }

    fn read_rules(&self, contents: &mut Contents) {
        for (to, i) in contents.rules.iter_mut().zip(0..) {
            to.schedule = load(&self.maps.rules, i, word_of!(Rule, schedule));
            to.active = load(&self.maps.rules, i, word_of!(Rule, active));
            to.owner = load(&self.maps.rules, i, word_of!(Rule, owner));
        }
        let sets: Vec<_> = contents.policies.iter().map(|policy| RuleSet(policy.rules)).collect();
        for set in sets {
            let range = set.offset() as usize..(set.offset() + set.count()) as usize;
            for index in range {
                let words = std::array::from_fn(|word| load(&self.maps.conditions, index, word));
                if let Some(to) = contents.conditions.get_mut(index) {
                    *to = condition_of(words);
                }
            }
        }
    }

    fn write_ring(&self, offset: u32, words: &[u16]) -> Result<(), DataplaneError> {
        let start = offset as usize;
        let space = self.maps.schedules.halves().get(start..start + words.len());
        let space = space.ok_or_else(|| outside(maps::SCHEDULES, offset))?;
        for (to, from) in space.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads a schedule, first its ring with the number of members, then as many of them.
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
    fn read(&self) -> Result<Contents, DataplaneError> {
        let mut contents = Contents::empty();
        let maps = &self.maps;
        if let Some(settings) = maps.settings.entry(0) {
            let first = word_of!(Settings, expiry_ticks);
            for (to, from) in contents.expiry_ticks.iter_mut().zip(&settings[first..]) {
                *to = from.load(Ordering::Relaxed);
            }
        }
        contents.is_measuring = maps.measurement.is_on();
        contents.syn_guard = load(&maps.settings, 0, word_of!(Settings, syn_guard));
        contents.wildcards = load(&maps.settings, 0, word_of!(Settings, wildcards));
        for (to, i) in contents.interfaces.iter_mut().zip(0..) {
            to.mac = load(&maps.interfaces, i, word_of!(InterfaceValue, mac));
            let device = load(&maps.interfaces, i, word_of!(InterfaceValue, ifindex));
            (to.ifindex, to.mtu) = (device as u32, (device >> 32) as u32);
        }
        for (to, i) in contents.backends.iter_mut().zip(0..) {
            to.forward = load(&maps.backends, i, word_of!(BackendValue, forward));
            let owner = load(&maps.backends, i, word_of!(BackendValue, service));
            (to.service, to.share) = (owner as u32, (owner >> 32) as u32);
        }
        for (to, i) in contents.policies.iter_mut().zip(0..) {
            to.schedule = load(&maps.policies, i, word_of!(Policy, schedule));
            to.choices = load(&maps.policies, i, word_of!(Policy, choices));
            to.stale_ticks = load(&maps.policies, i, word_of!(Policy, stale_ticks));
            to.affinity = load(&maps.policies, i, word_of!(Policy, affinity));
            to.rules = load(&maps.policies, i, word_of!(Policy, rules));
            to.local = load(&maps.policies, i, word_of!(Policy, local));
        }
        self.read_rules(&mut contents);
        let schedules = contents.all_schedules().chain(contents.rule_schedules());
        for schedule in schedules.collect::<Vec<_>>() {
            self.read_schedule(schedule, &mut contents);
        }
        for (to, from) in contents.filter.iter_mut().zip(maps.address_filter.words()) {
            *to = from.load(Ordering::Relaxed);
        }
        contents.services = pairs(&maps.services, maps::SERVICES)?;
        contents.vips = pairs(&maps.vips, maps::VIPS)?;
        contents.peers = peers(&maps.peers)?;
        self.devices(&mut contents)?;
        Ok(contents)
    }

    fn refresh(&self, contents: &mut Contents) -> Result<(), DataplaneError> {
        self.devices(contents)
    }

    fn apply(&mut self, write: &Write) -> Result<(), DataplaneError> {
        let maps = &*self.maps;
        match *write {
            Write::Expiry { class, ticks } => {
                debug_assert!(class < EXPIRY_CLASSES);
                let word = word_of!(Settings, expiry_ticks) + class;
                store(&maps.settings, 0, word, ticks, maps::SETTINGS)
            }
            Write::SynGuard { connections } => {
                let word = word_of!(Settings, syn_guard);
                store(&maps.settings, 0, word, connections, maps::SETTINGS)
            }
            Write::Wildcards { families } => {
                let word = word_of!(Settings, wildcards);
                store(&maps.settings, 0, word, families, maps::SETTINGS)
            }
            Write::InterfaceMac { index, mac } => {
                let word = word_of!(InterfaceValue, mac);
                store(&maps.interfaces, index.into(), word, mac, maps::INTERFACES)
            }
            Write::InterfaceDevice { index, ifindex, mtu } => {
                let word = word_of!(InterfaceValue, ifindex);
                let device = u64::from(ifindex) | u64::from(mtu) << 32;
                store(&maps.interfaces, index.into(), word, device, maps::INTERFACES)
            }
            Write::Device { index, ifindex } => self
                .set_device(index, ifindex)
                .map_err(DataplaneError::map(maps::DEVICES, "write it")),
            Write::Owner { slot, service, share } => {
                let owner = u64::from(service) | u64::from(share) << 32;
                store(&maps.backends, slot, word_of!(BackendValue, service), owner, maps::BACKENDS)
            }
            Write::Forward { slot, word } => {
                store(&maps.backends, slot, word_of!(BackendValue, forward), word, maps::BACKENDS)
            }
            Write::ResetSlot { slot } => self.reset_slot(slot),
            Write::Measuring { on: true } => maps.measurement.start(),
            Write::Measuring { on: false } => maps.measurement.stop(),
            Write::ResetService { service } => self.reset_service(service),
            Write::Choices { service, choices } => {
                store(&maps.policies, service, word_of!(Policy, choices), choices, maps::POLICIES)
            }
            Write::StaleTicks { service, ticks } => {
                store(&maps.policies, service, word_of!(Policy, stale_ticks), ticks, maps::POLICIES)
            }
            Write::Affinity { service, affinity } => {
                store(&maps.policies, service, word_of!(Policy, affinity), affinity, maps::POLICIES)
            }
            Write::Local { service, slot } => {
                store(&maps.policies, service, word_of!(Policy, local), slot, maps::POLICIES)
            }
            Write::Peer { service, slot, peer } => {
                put(&maps.peers, &peer_bytes(service, slot), peer)
                    .map_err(DataplaneError::map(maps::PEERS, "write it"))
            }
            Write::Schedule { service, schedule } => {
                let word = word_of!(Policy, schedule);
                store(&maps.policies, service, word, schedule.0, maps::POLICIES)
            }
            Write::Ring { offset, ref words } => self.write_ring(offset, words),
            Write::RuleOwner { rule, service } => {
                let owner = service.map_or(0, |service| u64::from(service) + 1);
                store(&maps.rules, rule, word_of!(Rule, owner), owner, maps::RULES)
            }
            Write::ResetRule { rule } => self.reset_rule(rule),
            Write::RuleActive { rule, active } => {
                store(&maps.rules, rule, word_of!(Rule, active), active.into(), maps::RULES)
            }
            Write::RuleSchedule { rule, schedule } => {
                store(&maps.rules, rule, word_of!(Rule, schedule), schedule.0, maps::RULES)
            }
            Write::Conditions { offset, ref records } => self.write_conditions(offset, records),
            Write::Rules { service, rules } => {
                store(&maps.policies, service, word_of!(Policy, rules), rules.0, maps::POLICIES)
            }
            Write::Service { key, service } => put(&maps.services, &key, service)
                .map_err(DataplaneError::map(maps::SERVICES, "write it")),
            Write::Vip { vip, services } => {
                put(&maps.vips, &vip, (services > 0).then_some(services))
                    .map_err(DataplaneError::map(maps::VIPS, "write it"))
            }
            Write::Filter { word, bits } => {
                store(&maps.address_filter, 0, word, bits, maps::ADDRESS_FILTER)
            }
        }
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        bpf::wait_for_readers()
    }
}

/// A condition as the words of its bytes.
fn condition_words(condition: &Condition) -> [u64; size_of::<Condition>() / 8] {
    let Condition { first, last, ports, tos, rule, _reserved, _reserved_words: [a, b] } =
        *condition;
    let halves = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    [first[0], first[1], last[0], last[1], halves(ports, tos), halves(rule, _reserved), a, b]
}

/// The condition of these words.
const fn condition_of(words: [u64; size_of::<Condition>() / 8]) -> Condition {
    let [a, b, c, d, range, rule, e, f] = words;
    Condition {
        first: [a, b],
        last: [c, d],
        ports: range as u32,
        tos: (range >> 32) as u32,
        rule: rule as u32,
        _reserved: (rule >> 32) as u32,
        _reserved_words: [e, f],
    }
}

/// Stores one word of an array's value. Release: what was written before is visible before it.
fn store<T: aya::Pod>(
    map: &Mapped<T>,
    index: u32,
    word: usize,
    value: u64,
    name: &'static str,
) -> Result<(), DataplaneError> {
    let place = map.entry(index as usize).and_then(|entry| entry.get(word));
    place.ok_or_else(|| outside(name, index))?.store(value, Ordering::Release);
    Ok(())
}

fn load<T: aya::Pod>(map: &Mapped<T>, index: usize, word: usize) -> u64 {
    let place = map.entry(index).and_then(|entry| entry.get(word));
    place.map_or(0, |place| place.load(Ordering::Acquire))
}

fn outside(map: &'static str, index: u32) -> DataplaneError {
    let text = format!("index {index} is outside of it");
    DataplaneError::map(map, "write it")(io::Error::other(text))
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

fn peers(map: &Map) -> Result<std::collections::BTreeMap<(u32, u32), u32>, DataplaneError> {
    let parts = |([a, b, c, d, e, f, g, h], peer): ([u8; 8], u32)| {
        ((u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])), peer)
    };
    Ok(pairs(map, maps::PEERS)?.into_iter().map(parts).collect())
}

fn pairs<K: Ord + for<'a> TryFrom<&'a [u8]>>(
    map: &Map,
    name: &'static str,
) -> Result<std::collections::BTreeMap<K, u32>, DataplaneError> {
    let failed = || DataplaneError::map(name, "read it");
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
