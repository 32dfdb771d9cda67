//! A client stays with its backend: records of who was where, which outrank rules and scheduler.

use dispatcher_common::{
    backend::STICKY,
    service::{Affinity, AffinityKey, AffinityRecord, PeerKey, ServiceId},
};
use dispatcher_ebpf::{choose::affinity::client, parse::FlowWords};

use super::members::{NOBODY, some};
use crate::bpf::{
    backend::takes,
    maps::{self, PolicyWords},
    packet::Packet,
    table::count,
};

/// The slot of the client's record, if the service keeps any and its backend still takes this client.
#[inline(always)]
pub(crate) fn find(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Option<u32> {
    let affinity = of(policy)?;
    some(dispatcher_find_client(packet, u64::from(service), affinity.0))
}

/// Records that the client's last new connection went to a slot. Failing for want of room, the client is as one that was
/// never here.
#[inline(always)]
pub(crate) fn remember(packet: &Packet, policy: PolicyWords, slot: u32) {
    // A flood's clients are not worth remembering.
    if let Some(affinity) = of(policy)
        && !count::is_guarded()
    {
        let _ = dispatcher_keep_client(packet, affinity.0, u64::from(slot));
    }
}

#[inline(always)]
fn of(policy: PolicyWords) -> Option<Affinity> {
    let affinity = Affinity(policy.affinity.load());
    (affinity.ticks() != 0).then_some(affinity)
}

/// As [`find`]; a global function for the same reason as [`super::super::table::lookup`]'s.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_find_client(packet: *const Packet, service: u64, affinity: u64) -> u64 {
    // SAFETY: `find` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return u64::from(NOBODY) };
    let affinity = Affinity(affinity);
    let record = maps::affinity(&key(&packet.flow, affinity)).map(AffinityRecord);
    let slot = match record {
        Some(record) if record.age(packet.tick) <= affinity.ticks() => record.slot(),
        _ => return u64::from(NOBODY),
    };
    u64::from(taken(service as u32, slot).unwrap_or(NOBODY))
}

/// The slot itself if it is the service's, else that of the same backend in the service; if it takes its clients back.
#[inline(always)]
fn taken(service: ServiceId, slot: u32) -> Option<u32> {
    let mut slot = slot;
    if maps::service_of(slot) != service {
        slot = maps::peer(&PeerKey { service, slot })?;
    }
    takes(service, slot, STICKY).then_some(slot)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_keep_client(packet: *const Packet, affinity: u64, slot: u64) -> u64 {
    // SAFETY: `remember` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    if maps::forward(slot as u32).flags() & STICKY == 0 {
        return 0;
    }
    let record = AffinityRecord::new(slot as u32, packet.tick);
    maps::remember(&key(&packet.flow, Affinity(affinity)), record);
    1
}

#[inline(always)]
fn key(flow: &FlowWords, affinity: Affinity) -> AffinityKey {
    // SAFETY: four words are sixteen bytes, and any bytes are an address.
    let client = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(client(flow, affinity)) };
    AffinityKey { client, group: affinity.group() }
}
