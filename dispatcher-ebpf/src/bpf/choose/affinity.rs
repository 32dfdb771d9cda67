//! Affinity: the backend of the client's last new connection, which has precedence over rules and scheduler.

use dispatcher_common::{
    backend::STICKY,
    service::{Affinity, AffinityKey, AffinityRecord, PeerKey, ServiceId},
};
use dispatcher_ebpf::{
    choose::affinity::client,
    parse::{FlowWords, address},
};

use crate::bpf::{
    backend::takes,
    global::global,
    maps::{self, PolicyWords},
    packet::Packet,
    table::count,
};

/// The slot of the client's record, if the service keeps records and the backend still takes this client.
#[inline(always)]
pub(super) fn find(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Option<u32> {
    recorded(packet, service, of(policy)?)
}

/// Records that the client's last new connection went to a slot. Without room for it, nothing is recorded.
#[inline(always)]
pub(super) fn remember(packet: &Packet, policy: PolicyWords, slot: u32) {
    // Clients of a flood are not recorded.
    if let Some(affinity) = of(policy)
        && !count::is_guarded()
    {
        record(packet, affinity, slot);
    }
}

#[inline(always)]
fn of(policy: PolicyWords) -> Option<Affinity> {
    let affinity = Affinity(policy.affinity.load());
    (affinity.ticks() != 0).then_some(affinity)
}

global! {
    /// As [`find`], for a service that keeps records.
    fn recorded(packet: &Packet, service: ServiceId, affinity: Affinity) -> Option<u32>
    as dispatcher_find_client {
        let record = AffinityRecord(maps::affinity(&key(&packet.flow, affinity))?);
        let is_valid = record.age(packet.tick) <= affinity.ticks();
        if is_valid { taken(service, record.slot()) } else { None }
    }

    /// As [`remember`], for a service that keeps records.
    fn record(packet: &Packet, affinity: Affinity, slot: u32) -> () as dispatcher_keep_client {
        if maps::forward(slot).flags() & STICKY != 0 {
            let record = AffinityRecord::new(slot, packet.tick);
            maps::remember(&key(&packet.flow, affinity), record);
        }
    }
}

/// The slot itself if it is the service's, else the same backend's slot in this service; none if it does not take its clients
/// back.
#[inline(always)]
fn taken(service: ServiceId, slot: u32) -> Option<u32> {
    let mut slot = slot;
    if maps::service_of(slot) != service {
        slot = maps::peer(&PeerKey { service, slot })?;
    }
    takes(service, slot, STICKY).then_some(slot)
}

#[inline(always)]
fn key(flow: &FlowWords, affinity: Affinity) -> AffinityKey {
    AffinityKey { client: address(client(flow, affinity)), group: affinity.group() }
}
