//! Fills the maps, at the start and while packets flow. This second writer next to the controller's is intended: tests of the
//! datapath must not depend on the code that they would then test as well.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Pod,
    maps::{PerCpuArray, PerCpuValues, xdp::DevMap},
    util::nr_cpus,
};
use dispatcher_common::{
    backend::{BackendValue, Forward, InterfaceValue, Share},
    connection::{Bucket, FlowBucket, Way},
    counts::TableCounts,
    flow::Flow,
    fragment::FragmentKey,
    maps,
    measure::MeasureWindow,
    net,
    rule::{self, Condition, RuleSet},
    service::{
        Affinity, AffinityKey, AffinityRecord, Choices, OWN, PeerKey, Policy, SCHEDULE_PACK,
        Schedule, ServiceKey, ServiceState,
    },
    settings::Settings,
};

use super::{
    Backend, Datapath, Interface, Place, Rule, Service, World, config, devices, sections::Sections,
};

impl Datapath {
    /// Whether the loaded program can be refilled with this world: it must have the world's constants and devices, because an
    /// element of a device map cannot be removed. A large world cannot be refilled, nor can a world be refilled as a large
    /// one: emptying only covers the elements that other worlds use.
    #[must_use]
    pub fn suits(&self, world: &World) -> bool {
        let is_same = config(world).is_ok_and(|config| self.config == config)
            && self.overflow == world.overflow;
        let is_large = self.is_large || world.is_large();
        is_same && !is_large && self.devices == devices(world)
    }

    /// Empties all maps except the counters and fills them again: the same as a new load, but quicker.
    ///
    /// # Errors
    ///
    /// When the program was loaded with other constants.
    pub fn refill(&mut self, world: &World) -> Result<()> {
        ensure!(self.suits(world), "the program was loaded with other constants");
        self.empty()?;
        self.fill(world)
    }

    pub(super) fn fill(&mut self, world: &World) -> Result<()> {
        let settings = Settings {
            hash_keys: world.hash_keys,
            schedule_keys: world.schedule_keys,
            buckets: u64::from(world.buckets),
            expiry_ticks: world.expiry_ticks,
            syn_guard: world.syn_guard,
            reset_interval: world.reset_interval,
            layout_version: maps::LAYOUT_VERSION,
            ..Settings::ZERO
        };
        self.array_mut(maps::SETTINGS)?.set(0, settings, 0)?;
        for interface in &world.interfaces {
            self.put_interface(interface)?;
        }
        if world.backends.iter().any(|backend| backend.measured) {
            self.start_measuring()?;
        }
        for backend in &world.backends {
            self.put_backend(backend)?;
        }
        self.sections.write(&mut self.ebpf)?;
        let mut vips = self.hash_mut::<net::Address, u32>(maps::VIPS)?;
        for address in &world.own_addresses {
            vips.insert(net::address(*address), OWN, 0)?;
        }
        for service in &world.services {
            self.add_service(service)?;
        }
        for &(service, slot, own) in &world.peers {
            let key = PeerKey { service, slot: slot.into() };
            self.hash_mut::<PeerKey, u32>(maps::PEERS)?.insert(key, u32::from(own), 0)?;
        }
        Ok(())
    }

    fn empty(&mut self) -> Result<()> {
        self.clear_overflow()?;
        self.clear_hash::<FragmentKey, u64>(maps::FRAGMENTS)?;
        self.clear_hash::<AffinityKey, u64>(maps::AFFINITY)?;
        self.clear_hash::<PeerKey, u32>(maps::PEERS)?;
        self.clear_hash::<ServiceKey, u32>(maps::SERVICES)?;
        self.clear_hash::<net::Address, u32>(maps::VIPS)?;
        // `fill` writes them.
        self.sections = Sections::empty();
        self.clear_array(maps::CONNECTIONS, Bucket::ZERO, self.config.bucket_mask + 1)?;
        self.clear_array(maps::FLOWS, FlowBucket::ZERO, self.config.bucket_mask + 1)?;
        self.clear_array(maps::POLICIES, Policy::ZERO, USED_SERVICES)?;
        self.clear_array(maps::SERVICE_STATE, ServiceState::ZERO, USED_SERVICES)?;
        self.clear_array(maps::ACTIVE_COUNTS, 0_u64, USED_SLOTS)?;
        self.clear_array(maps::WINDOWS, MeasureWindow::ZERO, USED_SLOTS)?;
        self.clear_array(maps::TABLE_COUNTS, TableCounts::ZERO, 1)?;
        self.clear_array(maps::RULES, rule::Rule::ZERO, USED_RULES)?;
        (self.next_ring, self.next_condition) = (0, 0);
        self.clear_reset_due()
    }

    /// Forgets the RSTs that were sent.
    fn clear_reset_due(&mut self) -> Result<()> {
        // This map belongs to the datapath alone, and is not part of its contract with the controller.
        let map = self.ebpf.map_mut("RESET_DUE").context("no map RESET_DUE")?;
        let zeros = vec![0_u64; nr_cpus().map_err(|(_, error)| error)?];
        Ok(PerCpuArray::try_from(map)?.set(0, PerCpuValues::try_from(zeros)?, 0)?)
    }

    /// Records a NIC and, if it has an ifindex, writes its redirection target.
    fn put_interface(&mut self, interface: &Interface) -> Result<()> {
        let mac = Forward::new(interface.mac, 0, 1).0;
        let index = interface.index;
        let element = self.sections.interface(index).with_context(|| format!("NIC {index}"))?;
        *element = InterfaceValue { mac, ifindex: interface.ifindex, mtu: interface.mtu };
        if interface.ifindex != 0 {
            let map = self.ebpf.map_mut(maps::DEVICES).context("no map DEVICES")?;
            DevMap::try_from(map)?.set(interface.index, interface.ifindex, None, 0)?;
        }
        Ok(())
    }

    /// Writes a backend's slot.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_backend(&mut self, backend: &Backend) -> Result<()> {
        self.set_backends(std::slice::from_ref(backend))
    }

    /// Writes backends' slots.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_backends(&mut self, backends: &[Backend]) -> Result<()> {
        backends.iter().try_for_each(|backend| self.put_backend(backend))?;
        self.sections.write_backends(&mut self.ebpf)
    }

    fn put_backend(&mut self, backend: &Backend) -> Result<()> {
        let slot = backend.slot;
        let is_used = self.is_large || u32::from(slot) < USED_SLOTS;
        ensure!(is_used, "slot {slot}: below {USED_SLOTS} was expected");
        let forward = Forward::new(backend.mac, backend.interface, backend.flags);
        let forward = forward.measured(backend.measured).0;
        let share = Share::new(backend.weight, backend.max_connections).0;
        let element = self.sections.backend(slot).with_context(|| format!("slot {slot}"))?;
        *element = BackendValue { forward, service: backend.service, share };
        Ok(())
    }

    /// Writes a service: ring, policy, key, VIP and filter bit, in an order that is safe while packets flow.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn add_service(&mut self, service: &Service) -> Result<()> {
        let policy = Policy {
            schedule: self.write_ring(&service.ring)?.0,
            choices: Choices::new(service.orphan, service.scheduler, service.protocol).0,
            stale_ticks: service.stale_ticks,
            affinity: service.affinity.0,
            rules: self.write_rules(service)?.0,
            local: service.local.into(),
            _reserved: [0; 2],
        };
        self.array_mut(maps::POLICIES)?.set(service.id, policy, 0)?;
        let vip = net::address(service.vip);
        let key = ServiceKey::new(vip, service.port, service.protocol);
        self.hash_mut(maps::SERVICES)?.insert(key, service.id, 0)?;
        if service.vip.is_unspecified() {
            return self.add_wildcard(service.vip.is_ipv6());
        }
        let mut vips = self.hash_mut::<net::Address, u32>(maps::VIPS)?;
        let services = vips.get(&vip, 0).ok().filter(|number| *number != OWN).unwrap_or(0);
        vips.insert(vip, services + 1, 0)?;
        self.open_filter(service.vip)
    }

    /// Marks a family as one with services on any address, and sets all bits of the filter.
    fn add_wildcard(&mut self, is_v6: bool) -> Result<()> {
        let mut map = self.array_mut::<Settings>(maps::SETTINGS)?;
        let mut settings = map.get(&0, 0)?;
        settings.wildcards |= 1 << u64::from(is_v6);
        map.set(0, settings, 0)?;
        self.sections.open_whole_filter();
        self.sections.write_filter(&mut self.ebpf)
    }

    /// Sets the filter's bit of an address, VIP or not.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn open_filter(&mut self, address: IpAddr) -> Result<()> {
        self.sections.open_filter(address);
        self.sections.write_filter(&mut self.ebpf)
    }

    /// Replaces a service's ring; the old one stays in the map, because packets may still read it.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_ring(&mut self, service: u32, ring: &[u16]) -> Result<()> {
        let schedule = self.write_ring(ring)?;
        let mut policies = self.array_mut::<Policy>(maps::POLICIES)?;
        let mut policy = policies.get(&service, 0)?;
        policy.schedule = schedule.0;
        Ok(policies.set(service, policy, 0)?)
    }

    /// Gives a service another scheduler and affinity.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_choices(&mut self, service: u32, scheduler: u8, affinity: Affinity) -> Result<()> {
        let mut policies = self.array_mut::<Policy>(maps::POLICIES)?;
        let mut policy = policies.get(&service, 0)?;
        let choices = Choices(policy.choices);
        policy.choices = Choices::new(choices.orphan(), scheduler, choices.protocol()).0;
        policy.affinity = affinity.0;
        Ok(policies.set(service, policy, 0)?)
    }

    /// Allows another number of half-open connections.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_guard(&mut self, connections: u64) -> Result<()> {
        let mut map = self.array_mut::<Settings>(maps::SETTINGS)?;
        let settings = Settings { syn_guard: connections, ..map.get(&0, 0)? };
        Ok(map.set(0, settings, 0)?)
    }

    /// Writes several rings for a service and returns their places, without using any of them.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn rings(&mut self, rings: &[&[u16]]) -> Result<Vec<Schedule>> {
        rings.iter().map(|ring| self.write_ring(ring)).collect()
    }

    /// Replaces a service's rules.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_rules(&mut self, service: &Service) -> Result<()> {
        let rules = self.write_rules(service)?;
        let mut policies = self.array_mut::<Policy>(maps::POLICIES)?;
        let mut policy = policies.get(&service.id, 0)?;
        policy.rules = rules.0;
        Ok(policies.set(service.id, policy, 0)?)
    }

    /// Writes a rule: its ring, and whether it is active.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_rule(&mut self, service: u32, rule: &Rule) -> Result<()> {
        let Rule { id, active, ref ring, .. } = *rule;
        ensure!(id < USED_RULES, "rule {id}: below {USED_RULES} was expected");
        let schedule = self.write_ring(ring)?.0;
        let (active, owner) = (u64::from(active), u64::from(service) + 1);
        let mut rules = self.array_mut::<rule::Rule>(maps::RULES)?;
        let value = rule::Rule { schedule, active, owner, ..rules.get(&id, 0)? };
        Ok(rules.set(id, value, 0)?)
    }

    /// Writes a service's rules, and their conditions directly after the last ones.
    fn write_rules(&mut self, service: &Service) -> Result<RuleSet> {
        let offset = self.next_condition;
        for rule in &service.rules {
            self.set_rule(service.id, rule)?;
            let any = (net::ip(&[0; 16]), net::ip(&[0xff; 16]));
            let clients = if rule.clients.is_empty() { &[any][..] } else { &rule.clients };
            for (first, last) in clients {
                let condition = Condition {
                    first: rule::halves(net::address(*first)),
                    last: rule::halves(net::address(*last)),
                    ports: u32::from(rule.ports.0) | u32::from(rule.ports.1) << 16,
                    tos: u32::from(rule.tos.0) | u32::from(rule.tos.1) << 8,
                    ..Condition::any(rule.id)
                };
                let number = self.next_condition;
                self.array_mut(maps::CONDITIONS)?.set(number, condition, 0)?;
                self.next_condition += 1;
            }
        }
        Ok(RuleSet::new(offset, self.next_condition - offset))
    }

    /// Overwrites a way.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_way(&mut self, place: Place, word: Way) -> Result<()> {
        let mut map = self.array_mut::<Bucket>(maps::CONNECTIONS)?;
        let mut bucket = map.get(&place.bucket, 0)?;
        bucket.ways[place.way] = word.0;
        Ok(map.set(place.bucket, bucket, 0)?)
    }

    /// Makes every affinity record this many ticks older.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn age_records(&mut self, ticks: u64) -> Result<usize> {
        let mut map = self.hash_mut::<AffinityKey, u64>(maps::AFFINITY)?;
        let records: Vec<(AffinityKey, u64)> = map.iter().collect::<Result<_, _>>()?;
        for (key, word) in &records {
            // On a machine that has just started this wraps to a time before the start.
            let then = (word >> 32).wrapping_sub(ticks);
            let aged = AffinityRecord::new(AffinityRecord(*word).slot(), then);
            map.insert(key, aged.0, 0)?;
        }
        Ok(records.len())
    }

    /// Frees all ways of a bucket; nothing is counted.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn clear_bucket(&mut self, bucket: u32) -> Result<()> {
        Ok(self.array_mut(maps::CONNECTIONS)?.set(bucket, Bucket::ZERO, 0)?)
    }

    /// Overwrites the flow record at a way's number.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_flow(&mut self, place: Place, flow: Flow) -> Result<()> {
        let mut map = self.array_mut::<FlowBucket>(maps::FLOWS)?;
        let mut bucket = map.get(&place.bucket, 0)?;
        bucket.flows[place.way] = flow;
        Ok(map.set(place.bucket, bucket, 0)?)
    }

    /// Overwrites a service's cursor and the time of its last placement by hash.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_service_state(&mut self, service: u32, state: ServiceState) -> Result<()> {
        Ok(self.array_mut(maps::SERVICE_STATE)?.set(service, state, 0)?)
    }

    /// Makes all first fragments this many nanoseconds older.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn age_fragments(&mut self, ns: u64) -> Result<()> {
        let mut map = self.hash_mut::<FragmentKey, u64>(maps::FRAGMENTS)?;
        let entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
        for (key, word) in entries {
            // The lowest 14 bits hold the slot.
            map.insert(key, word.wrapping_sub(ns >> 14 << 14), 0)?;
        }
        Ok(())
    }

    /// Empties the overflow map.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn clear_overflow(&mut self) -> Result<()> {
        self.clear_hash::<u64, u64>(maps::OVERFLOW)?;
        let mut map = self.array_mut::<Settings>(maps::SETTINGS)?;
        let settings = Settings { overflow_entries: 0, ..map.get(&0, 0)? };
        Ok(map.set(0, settings, 0)?)
    }

    /// Writes a ring and its members directly after the last ring, so that rings start at any place of a pack.
    fn write_ring(&mut self, ring: &[u16]) -> Result<Schedule> {
        let offset = self.next_ring;
        let length = ring.len() as u32;
        let members = super::world::members(ring);
        let mut ring = ring.to_vec();
        if length != 0 {
            ring.push(members.len() as u16);
            ring.extend(members);
        }
        let mut packs = self.array_mut::<[u16; SCHEDULE_PACK]>(maps::SCHEDULES)?;
        for (at, slot) in (offset as usize..).zip(&ring) {
            let index = (at / SCHEDULE_PACK) as u32;
            let mut pack = packs.get(&index, 0)?;
            pack[at % SCHEDULE_PACK] = *slot;
            packs.set(index, pack, 0)?;
        }
        self.next_ring = offset + ring.len() as u32;
        Ok(Schedule::new(offset, length))
    }

    fn clear_array<T: Pod + PartialEq>(&mut self, name: &str, zero: T, length: u32) -> Result<()> {
        let mut map = self.array_mut::<T>(name)?;
        for index in 0..length {
            if map.get(&index, 0)? != zero {
                map.set(index, zero, 0)?;
            }
        }
        Ok(())
    }

    fn clear_hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map = self.hash_mut::<K, V>(name)?;
        let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| Ok(map.remove(key)?))
    }
}

impl World {
    /// Whether it uses service ids or slots above those that other worlds use.
    pub(super) fn is_large(&self) -> bool {
        self.services.iter().any(|service| service.id >= USED_SERVICES)
            || self.backends.iter().any(|backend| u32::from(backend.slot) >= USED_SLOTS)
    }
}

/// All worlds except large ones use service ids below this.
pub(super) const USED_SERVICES: u32 = 64;
/// Worlds use rule ids below this.
const USED_RULES: u32 = 64;
/// All worlds except large ones use slots below this.
pub(super) const USED_SLOTS: u32 = 1024;
