//! What the maps hold.
//!
//! [`Contents`] is an image of every map the controller writes. It is the publisher's memory of what it wrote, and in
//! tests it is the kernel.

use std::collections::BTreeMap;

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    connection::EXPIRY_CLASSES,
    limits::{
        ADDRESS_FILTER_BITS, CONDITION_POOL, MAX_INTERFACES, MAX_RULES, MAX_SERVICES, MAX_SLOTS,
        SCHEDULE_POOL,
    },
    net::Address,
    rule::{Condition, Rule, RuleSet},
    service::{Policy, Schedule},
};

use super::write::{KeyBytes, Write};

use crate::dataplane::{pool::Space, tables::ScheduleTable};

/// An image of every map that the controller writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// [`dispatcher_common::settings::Settings::expiry_ticks`].
    pub expiry_ticks: [u64; EXPIRY_CLASSES],
    /// [`dispatcher_common::settings::Settings::syn_guard`].
    pub syn_guard: u64,
    /// Whether there is memory to measure with.
    pub is_measuring: bool,
    /// [`dispatcher_common::settings::Settings::wildcards`].
    pub wildcards: u64,
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
    /// By rule id; cursors and counts are not in it.
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
            expiry_ticks: [0; EXPIRY_CLASSES],
            syn_guard: 0,
            is_measuring: false,
            wildcards: 0,
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

    /// Slots of a schedule's ring; empty where the descriptor is not within the pool.
    #[must_use]
    pub fn ring(&self, schedule: Schedule) -> &[u16] {
        let start = schedule.offset() as usize;
        self.schedules.get(start..start + schedule.length() as usize).unwrap_or_default()
    }

    /// Members of a schedule; empty where they are not within the pool.
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

    /// A set's conditions; empty where they are not within the pool.
    #[must_use]
    pub fn conditions(&self, set: RuleSet) -> &[Condition] {
        let start = set.offset() as usize;
        self.conditions.get(start..start + set.count() as usize).unwrap_or_default()
    }

    /// Makes a write; what lies outside of a map is not written.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Expiry { class, ticks } => set(&mut self.expiry_ticks, *class, |v| *v = *ticks),
            Write::SynGuard { connections } => self.syn_guard = *connections,
            Write::Measuring { on } => self.is_measuring = *on,
            Write::Wildcards { families } => self.wildcards = *families,
            Write::InterfaceMac { index, mac } => {
                set(&mut self.interfaces, *index as usize, |v| v.mac = *mac);
            }
            Write::InterfaceDevice { index, ifindex, mtu } => {
                set(&mut self.interfaces, *index as usize, |v| {
                    (v.ifindex, v.mtu) = (*ifindex, *mtu);
                });
            }
            Write::Device { index, ifindex } => put(&mut self.devices, *index, *ifindex),
            Write::Owner { slot, service, share } => {
                set(&mut self.backends, *slot as usize, |v| {
                    (v.service, v.share) = (*service, *share);
                });
            }
            Write::Forward { slot, word } => {
                set(&mut self.backends, *slot as usize, |v| v.forward = *word);
            }
            Write::Choices { service, choices } => {
                set(&mut self.policies, *service as usize, |v| v.choices = *choices);
            }
            Write::StaleTicks { service, ticks } => {
                set(&mut self.policies, *service as usize, |v| v.stale_ticks = *ticks);
            }
            Write::Affinity { service, affinity } => {
                set(&mut self.policies, *service as usize, |v| v.affinity = *affinity);
            }
            Write::Local { service, slot } => {
                set(&mut self.policies, *service as usize, |v| v.local = *slot);
            }
            Write::Peer { service, slot, peer } => put(&mut self.peers, (*service, *slot), *peer),
            Write::Schedule { service, schedule } => {
                set(&mut self.policies, *service as usize, |v| v.schedule = schedule.0);
            }
            Write::Ring { offset, words } => {
                for (i, word) in words.iter().enumerate() {
                    set(&mut self.schedules, *offset as usize + i, |v| *v = *word);
                }
            }
            Write::RuleOwner { rule, service } => {
                let owner = service.map_or(0, |service| u64::from(service) + 1);
                set(&mut self.rules, *rule as usize, |v| v.owner = owner);
            }
            Write::RuleActive { rule, active } => {
                set(&mut self.rules, *rule as usize, |v| v.active = u64::from(*active));
            }
            Write::RuleSchedule { rule, schedule } => {
                set(&mut self.rules, *rule as usize, |v| v.schedule = schedule.0);
            }
            Write::Conditions { offset, records } => {
                for (i, record) in records.iter().enumerate() {
                    set(&mut self.conditions, *offset as usize + i, |v| *v = *record);
                }
            }
            Write::Rules { service, rules } => {
                set(&mut self.policies, *service as usize, |v| v.rules = rules.0);
            }
            Write::Service { key, service } => put(&mut self.services, *key, *service),
            Write::Vip { vip, services } => {
                put(&mut self.vips, *vip, (*services > 0).then_some(*services));
            }
            Write::Filter { word, bits } => set(&mut self.filter, *word, |v| *v = *bits),
            // Counters and cursors belong to the datapath.
            Write::ResetSlot { .. } | Write::ResetService { .. } | Write::ResetRule { .. } => {}
        }
    }
}

fn set<T>(values: &mut [T], index: usize, change: impl FnOnce(&mut T)) {
    if let Some(value) = values.get_mut(index) {
        change(value);
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, u32>, key: K, value: Option<u32>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
