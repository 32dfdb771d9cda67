//! Lists connections, named by their flow records.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use dispatcher_common::{
    connection::{FlowBucket, State, WAYS, Way},
    flow::Flow,
    limits::MAX_SLOTS,
    maps,
    measure::Exchange,
    net::{address, ip},
};

use super::{ConnectionTable, timeouts::HORIZON};
use crate::datapath::{clock, error::DatapathError, mapped::Mapped, measurement};

/// A connection: the data of its way and its flow record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Protocol number.
    pub protocol: u8,
    /// Client's address and port.
    pub client: SocketAddr,
    /// Address and port to which the client sent.
    pub vip: SocketAddr,
    /// Backend slot.
    pub slot: u32,
    /// State.
    pub state: State,
    /// Ticks of 4.3 s since the last packet.
    pub idle_ticks: u64,
    /// Ticks of 4.3 s since it was established.
    pub age_ticks: u64,
    /// Bytes that the client acknowledged, if the connection was measured from its beginning.
    pub delivered: Option<u64>,
    /// Microseconds of the last response, if one was measured.
    pub response_micros: Option<u64>,
}

/// Which connections to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of these slots.
    pub slots: Option<SlotSet>,
    /// Only of this client.
    pub client: Option<IpAddr>,
}

/// A set of backend slots; it is looked up once for every way of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Box<[bool]>);

impl SlotSet {
    /// Whether a slot is in it.
    #[inline]
    #[must_use]
    pub fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize).copied().unwrap_or(false)
    }
}

impl FromIterator<u32> for SlotSet {
    /// The set of these slots, without numbers that are no slots.
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut set = vec![false; MAX_SLOTS as usize];
        for slot in slots {
            if let Some(place) = set.get_mut(slot as usize) {
                *place = true;
            }
        }
        Self(set.into())
    }
}

/// The connections that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those with a flow record: half-open ones and those in the overflow map have none.
    pub connections: Vec<Connection>,
    /// The number of connections of the slots that have no record; in a search for a client, of those with an old record of
    /// it.
    pub unnamed: u64,
    /// Where to continue, if the limit ended the list.
    pub next: Option<usize>,
}

impl ConnectionTable {
    /// Lists at most `limit` connections in the table's order, which means nothing, from its way `from` on.
    ///
    /// The flow records are five times as large as the ways, and only this function needs all of them: they are mapped only
    /// while it runs, so that they do not count as the controller's memory afterwards.
    ///
    /// # Errors
    /// The kernel does not map them.
    pub fn list(
        &self,
        filter: &Filter,
        from: usize,
        limit: usize,
    ) -> Result<Listing, DatapathError> {
        let flows = Mapped::new(&self.flows).map_err(DatapathError::map(maps::FLOWS, "map it"))?;
        let exchanges = measurement::exchanges(&self.dir)?;
        let (now, client) = (clock::now(), filter.client.map(address));
        let mut listing = Listing::default();
        for (number, place) in self.ways.words().iter().enumerate().skip(from) {
            let way = Way(place.load(Ordering::Acquire));
            if way.0 == 0 || filter.slots.as_ref().is_some_and(|slots| !slots.contains(way.slot()))
            {
                continue;
            }
            let Some(flow) = flow(&flows, number) else { break };
            // Before the hash is computed, which costs more than everything else.
            if client.is_some_and(|client| client != flow.client) {
                continue;
            }
            let Some(way) = self.named(&flow, place, way) else {
                listing.unnamed += 1;
                continue;
            };
            if listing.connections.len() == limit {
                listing.next = Some(number);
                break;
            }
            let mut connection = connection(way, &flow, now);
            if let Some(exchange) = exchanges.as_ref().and_then(|all| exchange(all, number)) {
                let hash = flow.hash(&self.hash_keys);
                connection.delivered = exchange.delivered(hash);
                connection.response_micros = exchange.response(hash);
            }
            listing.connections.push(connection);
        }
        Ok(listing)
    }

    /// The record at a way's number, by a system call: the sweep needs few, and mapping all of them would cost more the larger
    /// the table is.
    pub(super) fn flow_of(&self, number: usize) -> Option<Flow> {
        let mut bucket = [0; size_of::<FlowBucket>()];
        let index = u32::try_from(number / WAYS).ok()?;
        let is_there = self.flows.lookup(&index.to_ne_bytes(), &mut bucket).ok()?;
        let at = number % WAYS * size_of::<Flow>();
        is_there.then(|| bucket[at..].first_chunk().map(decode)).flatten()
    }

    /// The way as it is now, if the flow record is its own: before and after the record was read.
    fn named(&self, flow: &Flow, place: &AtomicU64, way: Way) -> Option<Way> {
        let hash = flow.hash(&self.hash_keys);
        let after = Way(place.load(Ordering::Acquire));
        (way.matches(hash) && after.matches(hash)).then_some(after)
    }
}

/// The record at a way's number.
fn flow(flows: &Mapped<FlowBucket>, number: usize) -> Option<Flow> {
    const WORDS: usize = size_of::<Flow>() / 8;
    let words = flows.words().get(number * WORDS..)?.get(..WORDS)?;
    let mut bytes = [0; size_of::<Flow>()];
    for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&from.load(Ordering::Acquire).to_ne_bytes());
    }
    Some(decode(&bytes))
}

/// The measurement of a way's connection. Its words are read one after the other, so they may differ in age.
fn exchange(exchanges: &Mapped<Exchange>, number: usize) -> Option<Exchange> {
    let word = |place: &AtomicU64| place.load(Ordering::Acquire);
    let [progress, pending, times, base] = exchanges.entry(number)? else { return None };
    Some(Exchange {
        progress: word(progress),
        pending: word(pending),
        times: word(times),
        base: word(base),
    })
}

fn decode(bytes: &[u8; size_of::<Flow>()]) -> Flow {
    let mut flow = Flow::ZERO;
    flow.client.copy_from_slice(&bytes[..16]);
    flow.vip.copy_from_slice(&bytes[16..32]);
    flow.client_port.copy_from_slice(&bytes[32..34]);
    flow.vip_port.copy_from_slice(&bytes[34..36]);
    flow.born_and_protocol = u32::from_ne_bytes([bytes[36], bytes[37], bytes[38], bytes[39]]);
    flow
}

/// Ticks since a tick that is recorded modulo 2²⁴; 0 if it lies in the future.
pub(super) fn ticks_since(now: u64, born: u32) -> u64 {
    let age = now.wrapping_sub(born.into()) & 0xff_ffff;
    if age < 1 << 23 { age } else { 0 }
}

fn connection(way: Way, flow: &Flow, now: u64) -> Connection {
    let idle = way.age(now);
    Connection {
        protocol: flow.protocol(),
        client: SocketAddr::new(ip(&flow.client), u16::from_be_bytes(flow.client_port)),
        vip: SocketAddr::new(ip(&flow.vip), u16::from_be_bytes(flow.vip_port)),
        slot: way.slot(),
        state: way.state(),
        // Touched since the clock was read: not idle at all.
        idle_ticks: if idle < HORIZON { idle } else { 0 },
        age_ticks: ticks_since(now, flow.born()),
        delivered: None,
        response_micros: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_slots_and_no_others() {
        let last = MAX_SLOTS - 1;
        let set = SlotSet::from_iter([1, 7, last, MAX_SLOTS, u32::MAX]);
        let held: Vec<_> = (0..MAX_SLOTS + 2).filter(|slot| set.contains(*slot)).collect();
        assert_eq!(held, [1, 7, last]);
        assert!(!SlotSet::from_iter([]).contains(0));
    }
}
