//! Chooses the backend of a new connection: affinity, scheduler, and the hash that places packets without an entry.

use std::net::IpAddr;

use dispatcher_common::{
    backend::{NEW, STICKY},
    net,
    reason::Reason,
    service::{Affinity, scheduler},
};

use super::{Flow, Model, Outcome, Phase, leave};
use crate::{
    datapath::Rule,
    packet_builder::{ACK, FIN, RST, SYN, protocol::TCP},
};

/// A client's record: the slot of its last new connection, and the ticks since then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    slot: u16,
    age: u64,
}

/// The owner of a cursor, which advances with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// A service.
    Service(u32),
    /// A rule.
    Rule(u32),
}

impl Model {
    /// The backend of a flow that has none or needs another one; the packet has these flags and this TOS.
    pub(super) fn choose(
        &mut self,
        flow: &Flow,
        service: u32,
        (flags, tos): (u8, u8),
    ) -> Result<u16, Outcome> {
        let is_orphan = flow.0 == TCP && !opens(flags);
        let nobody = leave(Reason::NoBackend, Some(service));
        if is_orphan && self.was_hashed(service) {
            return self.by_hash(flow, service, tos).ok_or(nobody);
        }
        // A client may accept a connection that its server opens: its record identifies it.
        let is_answer = flags & (SYN | ACK | RST | FIN) == SYN | ACK;
        let known = if is_orphan && !is_answer { None } else { self.remembered(flow, service) };
        if known.is_none() && is_orphan && !self.is_hashed(service) {
            self.orphan(service, flags)?;
        }
        let slot = known.or_else(|| self.scheduled(flow, service, tos)).ok_or(nobody)?;
        let slot = self.away(slot)?;
        self.remember(flow, service, slot);
        Ok(slot)
    }

    /// The choice of the service's scheduler.
    fn scheduled(&mut self, flow: &Flow, service: u32, tos: u8) -> Option<u16> {
        let (turn, ring) = self.ring(flow, service, tos);
        match self.policies[&service].scheduler {
            scheduler::LEAST => self.least(&ring, |_| 1),
            scheduler::WEIGHTED_LEAST => self.least(&ring, u64::from),
            _ if self.is_hashed(service) => self.by_hash(flow, service, tos),
            _ => self.in_turn(turn, &ring),
        }
    }

    /// Whether a packet determines its backend without an entry.
    fn is_hashed(&self, service: u32) -> bool {
        [scheduler::FLOW_HASH, scheduler::CLIENT_HASH].contains(&self.policies[&service].scheduler)
    }

    /// The ring of the first rule that is active, applies and has a backend that takes connections; otherwise the service's.
    fn ring(&self, flow: &Flow, service: u32, tos: u8) -> (Turn, Vec<u16>) {
        let policy = &self.policies[&service];
        let is_available = |rule: &&Rule| rule.ring.iter().any(|slot| self.takes(*slot, NEW));
        let holding = policy.rules.iter().filter(|rule| holds(rule, flow, tos));
        holding.clone().find(is_available).map_or_else(
            || (Turn::Service(service), policy.ring.clone()),
            |rule| (Turn::Rule(rule.id), rule.ring.clone()),
        )
    }

    /// The ring's next slot; if that takes no connections, the next one after it that does.
    fn in_turn(&mut self, turn: Turn, ring: &[u16]) -> Option<u16> {
        if ring.is_empty() {
            return None;
        }
        let cursor = self.cursors.entry(turn).or_default();
        let place = *cursor;
        *cursor += 1;
        self.from(ring, place)
    }

    /// The slot at a place of the ring; if that takes no connections, the next one after it that does.
    fn from(&self, ring: &[u16], place: usize) -> Option<u16> {
        (0..ring.len()).map(|i| ring[(place + i) % ring.len()]).find(|slot| self.takes(*slot, NEW))
    }

    /// The slot with the fewest active connections for its share; of equals, the first in the ring.
    fn least(&self, ring: &[u16], share: fn(u8) -> u64) -> Option<u16> {
        let takers = ring.iter().copied().filter(|slot| self.takes(*slot, NEW));
        takers.min_by(|a, b| {
            let weigh = |slot: &u16| (self.active(*slot), share(self.backends[slot].weight));
            let ((active_a, share_a), (active_b, share_b)) = (weigh(a), weigh(b));
            Ord::cmp(&(active_a * share_b), &(active_b * share_a))
        })
    }

    /// The choice of a keyed hash of the flow, or of the client alone.
    fn by_hash(&self, flow: &Flow, service: u32, tos: u8) -> Option<u16> {
        let (protocol, client, vip) = *flow;
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&net::address(client.0));
        if self.policies[&service].scheduler != scheduler::CLIENT_HASH {
            bytes[16..32].copy_from_slice(&net::address(vip.0));
            bytes[32..34].copy_from_slice(&client.1.to_be_bytes());
            bytes[34..36].copy_from_slice(&vip.1.to_be_bytes());
            bytes[36] = protocol;
        }
        let [mut hash, multiplier] = self.schedule_keys;
        for chunk in bytes.as_chunks().0 {
            hash = (hash ^ u64::from_le_bytes(*chunk)).wrapping_mul(multiplier | 1);
            hash ^= hash >> 32;
        }
        hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        hash ^= hash >> 32;
        let (_, ring) = self.ring(flow, service, tos);
        self.from(&ring, (hash >> 32) as usize)
    }

    /// Places a packet by hash, without an entry; for a while, the service's orphans are placed in the same way.
    pub(super) fn place(&mut self, flow: &Flow, service: u32, tos: u8) -> Result<u16, Outcome> {
        self.hashed.insert(service, 0);
        self.by_hash(flow, service, tos).ok_or(leave(Reason::NoBackend, Some(service)))
    }

    fn was_hashed(&self, service: u32) -> bool {
        let age = self.hashed.get(&service);
        age.is_some_and(|age| *age <= self.policies[&service].stale_ticks)
    }

    /// The backend of the client's record, if it accepts returning clients.
    fn remembered(&self, flow: &Flow, service: u32) -> Option<u16> {
        let affinity = self.policies[&service].affinity;
        let record = self.records.get(&key(flow, affinity))?;
        if affinity.ticks() == 0 || record.age > affinity.ticks().into() {
            return None;
        }
        let own = if self.backends.get(&record.slot)?.service == service {
            record.slot
        } else {
            *self.peers.get(&(service, record.slot))?
        };
        self.takes(own, STICKY).then_some(own)
    }

    fn remember(&mut self, flow: &Flow, service: u32, slot: u16) {
        let affinity = self.policies[&service].affinity;
        let is_sticky = self.flags(slot) & STICKY != 0;
        if affinity.ticks() != 0 && is_sticky && !self.is_guarded() {
            self.records.insert(key(flow, affinity), Record { slot, age: 0 });
        }
    }

    /// Whether there are more half-open connections than the guard allows.
    pub(super) fn is_guarded(&self) -> bool {
        let is_half_open =
            |(flow, phase): (&Flow, Phase)| flow.0 == TCP && phase == Phase::HalfOpen;
        let connections = self.connections.iter().map(|(flow, c)| (flow, c.phase));
        connections.filter(|c| is_half_open(*c)).count() as u64 > self.syn_guard
    }

    /// Whether a backend takes a connection: it has this flag, and room.
    pub(super) fn takes(&self, slot: u16, flag: u8) -> bool {
        let Some(backend) = self.backends.get(&slot) else { return false };
        let most = backend.max_connections;
        backend.flags & flag != 0 && (most == 0 || self.filling(slot, most.into()) < most.into())
    }

    /// The count of a backend's connections for its bound: half-open ones count for at most half of it, rounded up.
    fn filling(&self, slot: u16, most: u64) -> u64 {
        let of_slot = self.connections.iter().filter(|(_, c)| c.slot == slot);
        let half_open =
            of_slot.filter(|(flow, c)| flow.0 == TCP && c.phase == Phase::HalfOpen).count() as u64;
        self.active(slot) - half_open + half_open.min(most.div_ceil(2))
    }

    /// Active connections of a backend: those that have not ended.
    fn active(&self, slot: u16) -> u64 {
        let has_ended =
            |phase| matches!(phase, Phase::Finished | Phase::Reset | Phase::Left | Phase::Aborted);
        let of_slot = self.connections.values().filter(|c| c.slot == slot);
        of_slot.filter(|c| !has_ended(c.phase)).count() as u64
    }

    /// Lets time pass, and removes what was idle for too long.
    pub fn pass(&mut self, ticks: u64) {
        self.records.values_mut().for_each(|record| record.age += ticks);
        self.hashed.values_mut().for_each(|age| *age += ticks);
        let expiry = self.expiry_ticks;
        self.connections.retain(|flow, connection| {
            connection.idle += ticks;
            let class = connection.phase.class() + if flow.0 == TCP { 4 } else { 0 };
            connection.idle < expiry[class]
        });
    }
}

/// Whether a TCP packet opens a connection.
const fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// The client's address under the service's mask, and the group of services that share its records.
fn key(flow: &Flow, affinity: Affinity) -> (IpAddr, u32) {
    let client = match flow.1.0 {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - affinity.mask_v4()).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - affinity.mask_v6()).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    };
    (client, affinity.group())
}

/// Whether a rule applies to a packet of this flow.
fn holds(rule: &Rule, (_, (client, port), _): &Flow, tos: u8) -> bool {
    let in_range = |(first, last): &(IpAddr, IpAddr)| first <= client && client <= last;
    let is_meant = rule.clients.is_empty() || rule.clients.iter().any(in_range);
    let (value, mask) = rule.tos;
    rule.active && is_meant && (rule.ports.0..=rule.ports.1).contains(port) && tos & mask == value
}
