//! The datapath's counters: per-CPU values, summed when they are read.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use dispatcher_common::{
    backend::{BackendValue, Forward},
    counts::{BackendCounts, PacketCounts, ServiceCounts},
    limits::{self, MAX_INTERFACES},
    maps,
    measure::ResponseCounts,
    reason::{REASONS, Reason},
    rule::Rule,
    service::Policy,
};

use super::{
    bpf::Map,
    error::DatapathError,
    mapped::{Mapped, word_of},
    maps::MapSet,
    measurement::Responses,
};
use crate::model::RetiredSlot;

/// Bytes that are fetched with one system call.
const BATCH_BYTES: usize = 256 << 10;

/// All counters in use, summed over CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By interface index: packets and bytes by [`dispatcher_common::reason::Reason`]. Without interfaces on which nothing
    /// was counted.
    pub interfaces: BTreeMap<u8, [PacketCounts; REASONS]>,
    /// By slot, of existing backends.
    pub backends: BTreeMap<u32, BackendCounts>,
    /// By service id, of existing services.
    pub services: BTreeMap<u32, ServiceCounts>,
    /// By slot, of existing backends whose connections are measured.
    pub responses: BTreeMap<u32, Responses>,
}

/// Reads the counters, from any thread.
#[derive(Clone, Debug)]
pub struct CounterReader {
    maps: Arc<MapSet>,
}

impl CounterReader {
    pub(super) const fn new(maps: Arc<MapSet>) -> Self {
        Self { maps }
    }

    /// Reads all counters in use, and those of `retired` slots.
    ///
    /// # Errors
    /// As the kernel.
    pub fn read(&self, retired: &[RetiredSlot]) -> Result<Counters, DatapathError> {
        let mut counters = Counters::default();
        self.interfaces(&mut counters)?;
        let mut slots = in_use(&self.maps.backends, word_of!(BackendValue, forward));
        for retired in retired {
            if let Some(slot) = slots.get_mut(retired.slot as usize) {
                *slot = true;
            }
        }
        sums(&self.maps.backend_counts, maps::BACKEND_COUNTS, end(&slots), |slot, words| {
            if slots[slot as usize]
                && let [packets, bytes, connections, retransmissions] = *words
            {
                let counts = BackendCounts { packets, bytes, connections, retransmissions };
                counters.backends.insert(slot, counts);
            }
        })?;
        self.responses(&mut counters)?;
        let services = in_use(&self.maps.policies, word_of!(Policy, choices));
        sums(&self.maps.service_counts, maps::SERVICE_COUNTS, end(&services), |id, words| {
            if services[id as usize]
                && let Some((packets, &[hashed])) = words.split_first_chunk()
            {
                counters.services.insert(id, ServiceCounts { packets: *packets, hashed });
            }
        })?;
        Ok(counters)
    }

    /// Reads the counters of one slot.
    ///
    /// # Errors
    /// As the kernel.
    pub fn backend(&self, slot: u32) -> Result<BackendCounts, DatapathError> {
        let [packets, bytes, connections, retransmissions] =
            sum_of(&self.maps.backend_counts, maps::BACKEND_COUNTS, slot)?;
        Ok(BackendCounts { packets, bytes, connections, retransmissions })
    }

    /// Reads the measurements of one slot's backend; `None` if it is not measured.
    ///
    /// # Errors
    /// As the kernel.
    pub fn measured(&self, slot: u32) -> Result<Option<Responses>, DatapathError> {
        let Some(map) = self.maps.measurement.slots().filter(|_| self.is_measured(slot)) else {
            return Ok(None);
        };
        let sum: [u64; size_of::<ResponseCounts>() / 8] =
            sum_of(&map, maps::RESPONSES_SLOTS, slot)?;
        Ok(Responses::of(&sum))
    }

    fn is_measured(&self, slot: u32) -> bool {
        let forward = self.maps.backends.load(slot as usize, word_of!(BackendValue, forward));
        Forward(forward).is_measured()
    }

    fn responses(&self, counters: &mut Counters) -> Result<(), DatapathError> {
        let Some(map) = self.maps.measurement.slots() else { return Ok(()) };
        let measured: Vec<_> = (0..limits::MAX_SLOTS).map(|slot| self.is_measured(slot)).collect();
        sums(&map, maps::RESPONSES_SLOTS, end(&measured), |slot, words| {
            if measured[slot as usize]
                && let Some(responses) = Responses::of(words)
            {
                counters.responses.insert(slot, responses);
            }
        })
    }

    /// Connections whose backend a rule chose.
    #[must_use]
    pub fn rule(&self, rule: u32) -> u64 {
        self.maps.rules.load(rule as usize, word_of!(Rule, connections))
    }

    fn interfaces(&self, counters: &mut Counters) -> Result<(), DatapathError> {
        let entries = MAX_INTERFACES * REASONS as u32;
        sums(&self.maps.packet_counts, maps::PACKET_COUNTS, entries, |entry, words| {
            let (index, reason) = (entry / REASONS as u32, entry as usize % REASONS);
            if let [packets, bytes] = *words
                && packets != 0
            {
                let empty = [PacketCounts::ZERO; REASONS];
                let counts = counters.interfaces.entry(index as u8).or_insert(empty);
                counts[reason] = PacketCounts { packets, bytes };
            }
        })
    }
}

impl Counters {
    /// The counters of a slot.
    #[must_use]
    pub fn backend(&self, slot: u32) -> BackendCounts {
        self.backends.get(&slot).copied().unwrap_or(BackendCounts::ZERO)
    }

    /// Packets of a service that left the path early for a reason.
    #[must_use]
    pub fn service(&self, id: u32, reason: Reason) -> u64 {
        self.services.get(&id).map_or(0, |counts| counts.packets[reason as usize])
    }

    /// Packets of a service that were placed by hash, without an entry.
    #[must_use]
    pub fn hashed(&self, id: u32) -> u64 {
        self.services.get(&id).map_or(0, |counts| counts.hashed)
    }

    /// Packets and bytes that left the path early at an interface for a reason.
    #[must_use]
    pub fn packets(&self, interface: u8, reason: Reason) -> PacketCounts {
        let counts = self.interfaces.get(&interface);
        counts.map_or(PacketCounts::ZERO, |counts| counts[reason as usize])
    }
}

/// For each entry of an array: whether this word of it is not 0.
fn in_use<T: aya::Pod>(map: &Mapped<T>, word: usize) -> Vec<bool> {
    let words = map.words();
    let stride = (size_of::<T>() / 8).max(1);
    words.iter().skip(word).step_by(stride).map(|word| word.load(Ordering::Relaxed) != 0).collect()
}

/// One past the last entry in use.
fn end(in_use: &[bool]) -> u32 {
    in_use.iter().rposition(|used| *used).map_or(0, |last| last as u32 + 1)
}

/// Sums one entry of a per-CPU array over CPUs; its value has this many words.
fn sum_of<const WORDS: usize>(
    map: &Map,
    name: &'static str,
    entry: u32,
) -> Result<[u64; WORDS], DatapathError> {
    let mut values = vec![0; map.transfer()];
    map.lookup(&entry.to_ne_bytes(), &mut values).map_err(DatapathError::map(name, "read it"))?;
    let mut sum = [0; WORDS];
    add(&mut sum, &values);
    Ok(sum)
}

/// Sums each of the first entries of a per-CPU array over CPUs; values are words.
fn sums(
    map: &Map,
    name: &'static str,
    entries: u32,
    mut each: impl FnMut(u32, &[u64]),
) -> Result<(), DatapathError> {
    let (transfer, value) = (map.transfer(), map.info().value_size as usize);
    let batch = (BATCH_BYTES / transfer).max(1) as u32;
    let mut buffer = vec![0; batch.min(entries) as usize * transfer];
    let mut sum = vec![0_u64; value / 8];
    for first in (0..entries).step_by(batch as usize) {
        let count = batch.min(entries - first);
        let bytes = &mut buffer[..count as usize * transfer];
        map.lookup_consecutive(first, bytes).map_err(DatapathError::map(name, "read it"))?;
        for (entry, of_all_cpus) in bytes.chunks_exact(transfer).enumerate() {
            sum.fill(0);
            add(&mut sum, of_all_cpus);
            each(first + entry as u32, &sum);
        }
    }
    Ok(())
}

/// Adds the values of all CPUs, one after the other, word by word.
fn add(sum: &mut [u64], of_all_cpus: &[u8]) {
    for of_cpu in of_all_cpus.chunks_exact(sum.len() * 8) {
        for (sum, word) in sum.iter_mut().zip(of_cpu.as_chunks::<8>().0) {
            *sum += u64::from_ne_bytes(*word);
        }
    }
}
