//! The single writes that change the maps.

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    maps,
    net::Address,
    rule::{Condition, Rule},
    service::{Policy, ServiceKey},
    settings::Settings,
};

use crate::datapath::{mapped::words, maps::FilterWords};

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

/// An array that the controller writes word by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Array {
    /// `SETTINGS`, of [`Settings`].
    Settings,
    /// `INTERFACES`, of [`InterfaceValue`].
    Interfaces,
    /// `BACKENDS`, of [`BackendValue`].
    Backends,
    /// `POLICIES`, of [`Policy`].
    Policies,
    /// `RULES`, of [`Rule`].
    Rules,
    /// `ADDRESS_FILTER`, one entry.
    AddressFilter,
}

impl Array {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Settings,
        Self::Interfaces,
        Self::Backends,
        Self::Policies,
        Self::Rules,
        Self::AddressFilter,
    ];

    /// The map's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => maps::SETTINGS,
            Self::Interfaces => maps::INTERFACES,
            Self::Backends => maps::BACKENDS,
            Self::Policies => maps::POLICIES,
            Self::Rules => maps::RULES,
            Self::AddressFilter => maps::ADDRESS_FILTER,
        }
    }

    /// Where a word of an entry is among the words of the array.
    #[must_use]
    pub const fn position(self, index: u32, word: usize) -> usize {
        let entry = match self {
            Self::Settings => size_of::<Settings>(),
            Self::Interfaces => size_of::<InterfaceValue>(),
            Self::Backends => size_of::<BackendValue>(),
            Self::Policies => size_of::<Policy>(),
            Self::Rules => size_of::<Rule>(),
            Self::AddressFilter => size_of::<FilterWords>(),
        };
        index as usize * (entry / 8) + word
    }

    /// The write of one word.
    pub(super) const fn store(self, index: u32, word: usize, value: u64) -> Write {
        Write::Word { array: self, index, word, value }
    }

    /// The writes that turn one entry into another, word by word.
    pub(super) fn difference<T: aya::Pod>(self, index: u32, held: &T, wanted: &T) -> Vec<Write> {
        let (held, wanted) =
            (words(std::slice::from_ref(held)), words(std::slice::from_ref(wanted)));
        let pairs =
            held.iter().zip(wanted).enumerate().filter(|(_, (held, wanted))| held != wanted);
        pairs.map(|(word, (_, value))| self.store(index, word, *value)).collect()
    }
}

/// One write to one map. A write that is neither a single store nor a single call goes only to space that nobody reads yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores one word of an array's entry.
    Word {
        /// The array.
        array: Array,
        /// Index of the entry.
        index: u32,
        /// Position of the word within the entry.
        word: usize,
        /// The word.
        value: u64,
    },
    /// `EXCHANGES`, `RESPONSES`: allocates the memory that measurement takes, or gives it back.
    Measuring {
        /// Whether connections are measured.
        on: bool,
    },
    /// `DEVICES`: the device that packets are redirected to; none removes it.
    Device {
        /// Interface index.
        index: u8,
        /// The kernel's index.
        ifindex: Option<u32>,
    },
    /// `BACKEND_COUNTS`, `WINDOWS`, `RESPONSES`: the slot's counters start at 0 again.
    ResetSlot {
        /// Slot.
        slot: u32,
    },
    /// `SERVICE_STATE`, `SERVICE_COUNTS`: cursor and counters start at 0 again.
    ResetService {
        /// Service id.
        service: u32,
    },
    /// `PEERS`: the slot that a service has for the backend of another service's slot; none removes it.
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
        /// See [`crate::schedule::ScheduleTable::words`].
        words: Vec<u16>,
    },
    /// `CONDITIONS`: a service's conditions, where no descriptor points.
    Conditions {
        /// First record in the pool.
        offset: u32,
        /// The records.
        records: Vec<Condition>,
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
}
