//! What the maps hold, and the single writes that change it.
//!
//! [`Contents`] is an image of every map the controller writes. It is the publisher's memory of what it wrote, and in
//! tests it is the kernel.

use std::collections::BTreeMap;

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    connection::EXPIRY_CLASSES,
    limits::{ADDRESS_FILTER_BITS, MAX_INTERFACES, MAX_SERVICES, MAX_SLOTS, SCHEDULE_POOL},
    net::Address,
    service::{Policy, Schedule, ServiceKey},
};

use crate::dataplane::{pool::Space, tables::ScheduleTable};

/// A [`ServiceKey`] as the bytes that the map compares.
pub type KeyBytes = [u8; size_of::<ServiceKey>()];

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: &ServiceKey) -> KeyBytes {
    let mut bytes = [0; size_of::<ServiceKey>()];
    bytes[..16].copy_from_slice(&key.vip);
    bytes[16..18].copy_from_slice(&key.port);
    (bytes[18], bytes[19]) = (key.protocol, key.any);
    bytes
}

/// One write to one map: what is not a single store or a single call writes only where nobody reads yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// `SETTINGS`: idle ticks of an expiry class.
    Expiry {
        /// Class.
        class: usize,
        /// Ticks.
        ticks: u64,
    },
    /// `SETTINGS`: half-open connections above which SYNs are placed by hash.
    SynGuard {
        /// Connections.
        connections: u64,
    },
    /// `EXCHANGES`, `RESPONSES`: the memory that measurement takes is made, or given back.
    Measuring {
        /// Whether there shall be any.
        on: bool,
    },
    /// `SETTINGS`: families with services on any address.
    Wildcards {
        /// [`dispatcher_common::settings::Settings::wildcards`].
        families: u64,
    },
    /// `INTERFACES`: the NIC's MAC with its flag; 0: not in use.
    InterfaceMac {
        /// Interface index.
        index: u8,
        /// [`InterfaceValue::mac`].
        mac: u64,
    },
    /// `INTERFACES`: the kernel's ifindex.
    InterfaceIfindex {
        /// Interface index.
        index: u8,
        /// The kernel's index.
        ifindex: u32,
    },
    /// `DEVICES`: where packets are redirected to; none removes it.
    Device {
        /// Interface index.
        index: u8,
        /// The kernel's index.
        ifindex: Option<u32>,
    },
    /// `BACKENDS`: the slot's service and its share, which are one word.
    Owner {
        /// Slot.
        slot: u32,
        /// Service id.
        service: u32,
        /// [`BackendValue::share`].
        share: u32,
    },
    /// `BACKEND_COUNTS`, `WINDOWS`, `RESPONSES`: the slot's counters start at 0 again.
    ResetSlot {
        /// Slot.
        slot: u32,
    },
    /// `BACKENDS`: MAC, interface and flags.
    Forward {
        /// Slot.
        slot: u32,
        /// [`BackendValue::forward`].
        word: u64,
    },
    /// `SERVICE_STATE`, `SERVICE_COUNTS`: cursor and counters start at 0 again.
    ResetService {
        /// Service id.
        service: u32,
    },
    /// `POLICIES`: the service's choices.
    Choices {
        /// Service id.
        service: u32,
        /// [`Policy::choices`].
        choices: u64,
    },
    /// `POLICIES`: the service's stale timeout.
    StaleTicks {
        /// Service id.
        service: u32,
        /// [`Policy::stale_ticks`].
        ticks: u64,
    },
    /// `POLICIES`: how the service's clients stay with their backends.
    Affinity {
        /// Service id.
        service: u32,
        /// [`Policy::affinity`].
        affinity: u64,
    },
    /// `PEERS`: where the backend of another service's slot is in a service; none removes it.
    Peer {
        /// Service id.
        service: u32,
        /// Slot of another service.
        slot: u32,
        /// Slot of the same backend in the service.
        peer: Option<u32>,
    },
    /// `SCHEDULES`: a schedule, where no descriptor points.
    Ring {
        /// First slot in the pool.
        offset: u32,
        /// As [`ScheduleTable::words`] has it.
        words: Vec<u16>,
    },
    /// `POLICIES`: the service's schedule from now on.
    Schedule {
        /// Service id.
        service: u32,
        /// Descriptor.
        schedule: Schedule,
    },
    /// `SERVICES`: the service of a key; none removes it.
    Service {
        /// Key.
        key: KeyBytes,
        /// Service id.
        service: Option<u32>,
    },
    /// `VIPS`: how many services the VIP has, or that an address is the host's own; 0 removes it.
    Vip {
        /// VIP, or the host's address.
        vip: Address,
        /// Services, or [`dispatcher_common::service::OWN`].
        services: u32,
    },
    /// `ADDRESS_FILTER`: one word of it.
    Filter {
        /// Index of the word.
        word: usize,
        /// Its bits.
        bits: u64,
    },
}

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
            Write::InterfaceIfindex { index, ifindex } => {
                set(&mut self.interfaces, *index as usize, |v| v.ifindex = *ifindex);
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
            Write::Peer { service, slot, peer } => put(&mut self.peers, (*service, *slot), *peer),
            Write::Schedule { service, schedule } => {
                set(&mut self.policies, *service as usize, |v| v.schedule = schedule.0);
            }
            Write::Ring { offset, words } => {
                for (i, word) in words.iter().enumerate() {
                    set(&mut self.schedules, *offset as usize + i, |v| *v = *word);
                }
            }
            Write::Service { key, service } => put(&mut self.services, *key, *service),
            Write::Vip { vip, services } => {
                put(&mut self.vips, *vip, (*services > 0).then_some(*services));
            }
            Write::Filter { word, bits } => set(&mut self.filter, *word, |v| *v = *bits),
            // Counters and cursors belong to the datapath.
            Write::ResetSlot { .. } | Write::ResetService { .. } => {}
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
