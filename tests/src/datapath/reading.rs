//! Reads what the datapath left in its maps: counters, ways, flow records.

use anyhow::{Context as _, Result, ensure};
use aya::maps::PerCpuArray;
use dispatcher_common::{
    connection::{Bucket, FlowBucket, WAYS, Way},
    counts::{ActiveCount, BackendCounts, PacketCounts, ServiceCounts, TableCounts},
    flow::Flow,
    maps,
    reason::{REASONS, Reason},
    rule::Rule,
    service::ServiceState,
    settings::Settings,
};

use super::{Datapath, filling::USED_SLOTS};

/// The place of a way in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The bucket.
    pub bucket: u32,
    /// The way within the bucket.
    pub way: usize,
}

/// Packets and bytes by reason, summed over CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Vec<(u64, u64)>);

impl Counts {
    /// Packets and bytes counted since `earlier`, by reason, without zeros.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Vec<(Reason, u64, u64)> {
        Reason::ALL
            .iter()
            .zip(self.0.iter().zip(&earlier.0))
            .filter(|(_, (now, then))| now != then)
            .map(|(reason, (now, then))| (*reason, now.0 - then.0, now.1 - then.1))
            .collect()
    }
}

impl Datapath {
    /// Packets and bytes by reason, on the NIC for which the program was loaded.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn counts(&self) -> Result<Counts> {
        let map = self.per_cpu::<PacketCounts>(maps::PACKET_COUNTS)?;
        let first = self.interface() * REASONS as u32;
        let mut counts = Vec::with_capacity(Reason::ALL.len());
        for index in first..first + Reason::ALL.len() as u32 {
            let values = map.get(&index, 0)?;
            counts.push(values.iter().fold((0, 0), |s, c| (s.0 + c.packets, s.1 + c.bytes)));
        }
        Ok(Counts(counts))
    }

    /// A backend's counters, summed over CPUs.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn backend_counts(&self, slot: u16) -> Result<BackendCounts> {
        let values = self.per_cpu::<BackendCounts>(maps::BACKEND_COUNTS)?.get(&slot.into(), 0)?;
        Ok(values.iter().fold(BackendCounts::ZERO, |sum, c| BackendCounts {
            packets: sum.packets + c.packets,
            bytes: sum.bytes + c.bytes,
            connections: sum.connections + c.connections,
            retransmissions: sum.retransmissions + c.retransmissions,
        }))
    }

    /// Connections whose backend was chosen by a rule.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn rule_connections(&self, rule: u32) -> Result<u64> {
        Ok(self.array::<Rule>(maps::RULES)?.get(&rule, 0)?.connections)
    }

    /// A service's early exits by reason, summed over CPUs.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn service_counts(&self, service: u32) -> Result<[u64; REASONS]> {
        let values = self.per_cpu::<ServiceCounts>(maps::SERVICE_COUNTS)?.get(&service, 0)?;
        let mut sum = [0; REASONS];
        for cpu in values.iter() {
            sum.iter_mut().zip(cpu.packets).for_each(|(total, count)| *total += count);
        }
        Ok(sum)
    }

    /// A service's packets that were placed by hash, summed over CPUs.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn hashed(&self, service: u32) -> Result<u64> {
        let values = self.per_cpu::<ServiceCounts>(maps::SERVICE_COUNTS)?.get(&service, 0)?;
        Ok(values.iter().map(|counts| counts.hashed).sum())
    }

    /// A service's cursor and the time of its last placement by hash.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn service_state(&self, service: u32) -> Result<ServiceState> {
        Ok(self.array::<ServiceState>(maps::SERVICE_STATE)?.get(&service, 0)?)
    }

    /// The datapath's count of a backend's connections.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn active_count(&self, slot: u16) -> Result<ActiveCount> {
        Ok(ActiveCount(self.array::<u64>(maps::ACTIVE_COUNTS)?.get(&slot.into(), 0)?))
    }

    /// The datapath's count of half-open connections.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn half_open(&self) -> Result<u64> {
        Ok(self.array::<TableCounts>(maps::TABLE_COUNTS)?.get(&0, 0)?.half_open)
    }

    /// Counts the connections of table and overflow map, by slot.
    pub(super) fn recount(&self) -> Result<Vec<ActiveCount>> {
        let mut counts = vec![ActiveCount(0); USED_SLOTS as usize];
        let overflown = self.overflow()?.into_iter().map(|(_, way)| way);
        for way in self.ways()?.into_iter().map(|(_, way)| way).chain(overflown) {
            let count = counts.get_mut(way.slot() as usize).context("a way of an unused slot")?;
            count.0 += ActiveCount::of(way);
        }
        Ok(counts)
    }

    /// Compares the datapath's counts of connections with a recount of table and overflow map.
    ///
    /// # Errors
    ///
    /// When a count is wrong.
    pub fn counts_are_true(&self) -> Result<()> {
        let mut half_open = 0;
        for (slot, counted) in (0..).zip(self.recount()?) {
            let said = self.active_count(slot)?;
            let text =
                |c: ActiveCount| format!("{} active, {} half-open", c.active(), c.half_open());
            ensure!(said == counted, "slot {slot}: {} said, {}", text(said), text(counted));
            half_open += counted.half_open();
        }
        let said = self.half_open()?;
        ensure!(said == half_open, "{said} half-open said, {half_open} counted");
        Ok(())
    }

    /// Every way of the table that is not free.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn ways(&self) -> Result<Vec<(Place, Way)>> {
        let map = self.array::<Bucket>(maps::CONNECTIONS)?;
        let mut found = Vec::new();
        for bucket in 0..map.len() {
            for (way, word) in map.get(&bucket, 0)?.ways.into_iter().enumerate() {
                if word != 0 {
                    found.push((Place { bucket, way }, Way(word)));
                }
            }
        }
        Ok(found)
    }

    /// The flow record at a way's number.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn flow(&self, place: Place) -> Result<Flow> {
        debug_assert!(place.way < WAYS);
        Ok(self.array::<FlowBucket>(maps::FLOWS)?.get(&place.bucket, 0)?.flows[place.way])
    }

    /// Connections in the overflow map: table hash and way.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn overflow(&self) -> Result<Vec<(u64, Way)>> {
        let map = self.hash::<u64, u64>(maps::OVERFLOW)?;
        let entries: Result<Vec<_>, _> = map.iter().collect();
        Ok(entries?.into_iter().map(|(hash, word)| (hash, Way(word))).collect())
    }

    /// The datapath's count of connections in the overflow map.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn overflow_entries(&self) -> Result<u64> {
        Ok(self.array::<Settings>(maps::SETTINGS)?.get(&0, 0)?.overflow_entries)
    }

    fn per_cpu<T: aya::Pod>(&self, name: &str) -> Result<PerCpuArray<&aya::maps::MapData, T>> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        PerCpuArray::try_from(map).with_context(|| format!("map {name}"))
    }
}
