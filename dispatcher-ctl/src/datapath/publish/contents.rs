//! The contents of the maps.
//!
//! [`Contents`] is an image of every map that the controller writes. The publisher remembers in it what it wrote; tests use it
//! in place of the kernel.

use std::collections::BTreeMap;

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    limits::{
        ADDRESS_FILTER_BITS, CONDITION_POOL, MAX_INTERFACES, MAX_RULES, MAX_SERVICES, MAX_SLOTS,
        SCHEDULE_POOL,
    },
    net::Address,
    rule::{Condition, Rule, RuleSet},
    service::{Policy, Schedule},
    settings::Settings,
};

use super::write::{Array, KeyBytes, Write};

use crate::{
    datapath::{mapped::words_mut, pool::Space},
    schedule::ScheduleTable,
};

/// An image of every map that the controller writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The one record of settings.
    pub settings: Settings,
    /// Whether there is memory to measure with.
    pub is_measuring: bool,
    /// By interface index.
    pub interfaces: Vec<InterfaceValue>,
    /// Ifindex by interface index.
    pub devices: BTreeMap<u8, u32>,
    /// By slot.
    pub backends: Vec<BackendValue>,
    /// By service id.
    pub policies: Vec<Policy>,
    /// Slot in a service by that service and slot of another.
    pub peers: BTreeMap<(u32, u32), u32>,
    /// By rule id. Cursors and counts are those of the time when the maps were opened.
    pub rules: Vec<Rule>,
    /// The pool of conditions.
    pub conditions: Vec<Condition>,
    /// The pool of schedules.
    pub schedules: Vec<u16>,
    /// Service id by key.
    pub services: BTreeMap<KeyBytes, u32>,
    /// Number of services by VIP, and the host's own addresses.
    pub vips: BTreeMap<Address, u32>,
    /// The destination-address filter.
    pub filter: Vec<u64>,
}

impl Contents {
    /// Empty maps.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            settings: Settings::ZERO,
            is_measuring: false,
            interfaces: vec![InterfaceValue::ZERO; MAX_INTERFACES as usize],
            devices: BTreeMap::new(),
            backends: vec![BackendValue::ZERO; MAX_SLOTS as usize],
            policies: vec![Policy::ZERO; MAX_SERVICES as usize],
            peers: BTreeMap::new(),
            rules: vec![Rule::ZERO; MAX_RULES as usize],
            conditions: vec![Condition::ZERO; CONDITION_POOL as usize],
            schedules: vec![0; SCHEDULE_POOL as usize],
            services: BTreeMap::new(),
            vips: BTreeMap::new(),
            filter: vec![0; ADDRESS_FILTER_BITS as usize / 64],
        }
    }

    /// Slots of a schedule's ring; empty if it is not within the pool.
    #[must_use]
    pub fn ring(&self, schedule: Schedule) -> &[u16] {
        let start = schedule.offset() as usize;
        self.schedules.get(start..start + schedule.length() as usize).unwrap_or_default()
    }

    /// Members of a schedule; empty if they are not within the pool.
    #[must_use]
    pub fn members(&self, schedule: Schedule) -> &[u16] {
        let count = schedule.offset() as usize + schedule.length() as usize;
        match self.schedules.get(count) {
            Some(members) if schedule.length() > 0 => {
                self.schedules.get(count + 1..=count + usize::from(*members)).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// Whether a schedule's descriptor leads to these slots.
    #[must_use]
    pub fn is_at(&self, schedule: Schedule, table: &ScheduleTable) -> bool {
        self.ring(schedule) == table.ring && self.members(schedule) == table.members
    }

    /// A schedule as it lies in the pool.
    #[must_use]
    pub fn table(&self, schedule: Schedule) -> ScheduleTable {
        let (ring, members) = (self.ring(schedule), self.members(schedule));
        ScheduleTable { ring: ring.to_vec(), members: members.to_vec() }
    }

    /// The part of the pool that a schedule takes.
    #[must_use]
    pub fn space(&self, schedule: Schedule) -> Space {
        let members = self.members(schedule).len();
        let length = Schedule::space(schedule.length() as usize, members) as u32;
        Space { offset: schedule.offset(), length }
    }

    /// The schedule of a service.
    #[must_use]
    pub fn schedule(&self, service: u32) -> Schedule {
        Schedule(self.policies.get(service as usize).map_or(0, |policy| policy.schedule))
    }

    /// Schedules of all services, by service id.
    pub fn all_schedules(&self) -> impl Iterator<Item = Schedule> {
        self.policies.iter().map(|policy| Schedule(policy.schedule))
    }

    /// The schedule of a rule.
    #[must_use]
    pub fn rule_schedule(&self, rule: u32) -> Schedule {
        Schedule(self.rules.get(rule as usize).map_or(0, |rule| rule.schedule))
    }

    /// Schedules of all rules, by rule id.
    pub fn rule_schedules(&self) -> impl Iterator<Item = Schedule> {
        self.rules.iter().map(|rule| Schedule(rule.schedule))
    }

    /// The rules of a service.
    #[must_use]
    pub fn rule_set(&self, service: u32) -> RuleSet {
        RuleSet(self.policies.get(service as usize).map_or(0, |policy| policy.rules))
    }

    /// A set's conditions; empty if they are not within the pool.
    #[must_use]
    pub fn conditions(&self, set: RuleSet) -> &[Condition] {
        let start = set.offset() as usize;
        self.conditions.get(start..start + set.count() as usize).unwrap_or_default()
    }

    /// The words of an array.
    pub(in crate::datapath) fn array(&mut self, array: Array) -> &mut [u64] {
        match array {
            Array::Settings => words_mut(std::slice::from_mut(&mut self.settings)),
            Array::Interfaces => words_mut(&mut self.interfaces),
            Array::Backends => words_mut(&mut self.backends),
            Array::Policies => words_mut(&mut self.policies),
            Array::Rules => words_mut(&mut self.rules),
            Array::AddressFilter => &mut self.filter,
        }
    }

    /// Makes a write; ignores what lies outside of a map.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Word { array, index, word, value } => {
                let position = array.position(*index, *word);
                copy(self.array(*array), position, &[*value]);
            }
            Write::Measuring { on } => self.is_measuring = *on,
            Write::Device { index, ifindex } => put(&mut self.devices, *index, *ifindex),
            Write::Peer { service, slot, peer } => put(&mut self.peers, (*service, *slot), *peer),
            Write::Ring { offset, words } => copy(&mut self.schedules, *offset as usize, words),
            Write::Conditions { offset, records } => {
                copy(&mut self.conditions, *offset as usize, records);
            }
            Write::Service { key, service } => put(&mut self.services, *key, *service),
            Write::Vip { vip, services } => {
                put(&mut self.vips, *vip, (*services > 0).then_some(*services));
            }
            // The image has no counters and cursors: the datapath writes them.
            Write::ResetSlot { .. } | Write::ResetService { .. } => {}
        }
    }
}

fn copy<T: Copy>(to: &mut [T], start: usize, from: &[T]) {
    for (to, from) in to.iter_mut().skip(start).zip(from) {
        *to = *from;
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, u32>, key: K, value: Option<u32>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
