//! A flow without a connection, or whose connection has ended: whether it gets a new one, and on which backend.
//!
//! ICMP errors and later fragments never get here.

use dispatcher_common::{
    reason::Reason,
    service::{ServiceId, orphan},
};
use dispatcher_ebpf::{
    outcome::{Exit, Outcome},
    table::tracking::{self, Event},
};

use super::{
    affinity, rules,
    schedule::{self, Source},
};
use crate::bpf::{
    classify::classify,
    loops,
    maps::{self, PolicyWords, RuleWords},
    packet::Packet,
    table::{
        count,
        insert::{Claim, claim},
        overflow,
        tracking::renew_in_place,
    },
};

/// Gives a flow without a connection a slot, and enters it.
///
/// While more connections are half-open than `syn_guard` allows, a SYN is placed by hash at once: it takes nobody's turn,
/// leaves no trace, and is no more work than must be. Its flow's next packet, which a flood does not send, is entered.
#[inline(always)]
pub(crate) fn place(packet: &Packet) -> Result<u32, Exit> {
    if packet.event() == Event::OPEN && count::is_guarded() {
        return Outcome(dispatcher_hashed(packet)).result();
    }
    let slot = choose(packet)?;
    settle(packet, slot)
}

/// Enters a flow with a chosen slot, or places it by hash; yields the slot that the packet goes to.
#[inline(always)]
fn settle(packet: &Packet, slot: u32) -> Result<u32, Exit> {
    match dispatcher_enter(packet, u64::from(slot)) {
        NOT_ENTERED => Outcome(dispatcher_hashed(packet)).result(),
        entered => {
            #[cfg(feature = "log")]
            crate::bpf::log::placed(packet, entered as u32);
            Ok(entered as u32)
        }
    }
}

/// Gives a connection that has ended a new slot.
#[inline(always)]
pub(crate) fn renew(packet: &Packet) -> Result<u32, Exit> {
    let slot = choose(packet)?;
    match dispatcher_renew(packet, u64::from(slot)) {
        // It was removed meanwhile: the flow is as one that was never here.
        REMOVED => settle(packet, slot),
        renewed => {
            #[cfg(feature = "log")]
            crate::bpf::log::placed(packet, renewed as u32);
            Ok(renewed as u32)
        }
    }
}

/// The connection that was to be renewed is not there.
const REMOVED: u64 = u64::MAX;

/// As [`renew`], with a chosen slot; yields the slot that the packet goes to, or [`REMOVED`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_renew(packet: *const Packet, slot: u64) -> u64 {
    // SAFETY: `renew` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return REMOVED };
    let slot = slot as u32;
    let Some(renewed) = renew_in_place(packet, slot) else { return REMOVED };
    if renewed == slot {
        count(slot);
    }
    u64::from(renewed)
}

/// Chooses a slot for a packet that has no connection, or whose connection has ended.
#[inline(always)]
fn choose(packet: &Packet) -> Result<u32, Exit> {
    Outcome(dispatcher_choose(packet)).result()
}

/// As [`choose`], its result packed; global for the same reason as [`super::super::table::tracking`]'s function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_choose(packet: *const Packet) -> u64 {
    // SAFETY: the caller above passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    Outcome::new(slot_for(packet)).0
}

/// There is no room for the flow.
const NOT_ENTERED: u64 = u64::MAX;

/// Enters a flow with a chosen slot, and yields the slot that the packet goes to, or [`NOT_ENTERED`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_enter(packet: *const Packet, slot: u64) -> u64 {
    // SAFETY: `settle` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return NOT_ENTERED };
    enter(packet, slot as u32).map_or(NOT_ENTERED, u64::from)
}

/// Places a flow by hash, and yields the slot that the packet goes to, packed.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_hashed(packet: *const Packet) -> u64 {
    // SAFETY: `place` and `settle` pass a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    Outcome::new(classify(&packet.flow).and_then(|service| hashed(packet, service))).0
}

#[inline(always)]
fn slot_for(packet: &Packet) -> Result<u32, Exit> {
    let service = classify(&packet.flow)?;
    let policy = policy(service)?;
    let Choices { orphan: orphans, scheduler } = choices(policy);
    let is_orphan = packet.is_tcp() && packet.event() != Event::OPEN;
    if is_orphan && was_hashed(packet, service, policy) {
        return by_hash(packet, service, policy);
    }
    // A SYN-ACK from a client with a record opens a connection: in active FTP it is the server that asked for it.
    let mut slot = None;
    if !is_orphan || tracking::is_answer(packet.flags as u8) {
        slot = affinity::find(packet, service, policy);
    }
    if slot.is_none() {
        if is_orphan && !schedule::is_hashed(scheduler) {
            orphan(packet, service, orphans)?;
        }
        slot = scheduled(packet, service, policy);
    }
    let slot = slot.ok_or(Exit::of(service, Reason::NoBackend))?;
    let slot = loops::away(packet.source, slot)?;
    affinity::remember(packet, policy, slot);
    Ok(slot)
}

/// The slot that the first rule that holds says, else the service's schedule.
#[inline(always)]
fn scheduled(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Option<u32> {
    let rule = rules::find(packet, service, policy);
    if let Some(rule) = rule {
        rule.connections.fetch_add(1);
    }
    let source = source(rule, service, policy)?;
    schedule::next(service, choices(policy).scheduler, source, &packet.flow)
}

/// The slot that a hash says: over the ring of the first rule that holds, else over the service's.
#[inline(always)]
fn by_hash(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Result<u32, Exit> {
    let source = source(rules::find(packet, service, policy), service, policy);
    let scheduler = choices(policy).scheduler;
    source
        .and_then(|source| schedule::by_hash(service, scheduler, source, &packet.flow))
        .ok_or(Exit::of(service, Reason::NoBackend))
}

/// The schedule of a rule, or else of the service.
#[inline(always)]
fn source(rule: Option<RuleWords>, service: ServiceId, policy: PolicyWords) -> Option<Source> {
    if let Some(RuleWords { schedule, cursor, .. }) = rule {
        return Some(Source { schedule, cursor });
    }
    Some(Source { schedule: policy.schedule, cursor: maps::service_state(service)?.cursor })
}

/// A service's policy. There is one of every service.
#[inline(always)]
fn policy(service: ServiceId) -> Result<PolicyWords, Exit> {
    maps::policy(service).ok_or(Exit::of(service, Reason::NoBackend))
}

/// What a policy says of packets that open nothing, and of those that do.
struct Choices {
    orphan: u8,
    scheduler: u8,
}

#[inline(always)]
fn choices(policy: PolicyWords) -> Choices {
    let choices = policy.choices.load();
    Choices { orphan: choices as u8, scheduler: (choices >> 8) as u8 }
}

/// A TCP packet that opens nothing, by the service's policy: an exit unless it is to be treated as new.
#[inline(always)]
fn orphan(packet: &Packet, service: ServiceId, policy: u8) -> Result<(), Exit> {
    match policy {
        orphan::SCHEDULE => Ok(()),
        orphan::PASS => Err(Exit::of(service, Reason::OrphanPassed)),
        policy => {
            let exit = Exit::of(service, tracking::orphan(packet.flags as u8));
            Err(exit.resetting(policy == orphan::RESET))
        }
    }
}

/// Whether the service placed a flow by hash no longer than its `stale_timeout` ago.
#[inline(always)]
fn was_hashed(packet: &Packet, service: ServiceId, policy: PolicyWords) -> bool {
    let Some(state) = maps::service_state(service) else { return false };
    let hashed_at = state.hashed_at.load();
    hashed_at != 0 && (packet.tick + 1).saturating_sub(hashed_at) <= policy.stale_ticks.load()
}

/// In the table, else in the overflow map. If both are full the flow is placed by hash without an entry, as all its
/// packets will be until there is room.
#[inline(always)]
fn enter(packet: &Packet, slot: u32) -> Option<u32> {
    match claim(packet, slot) {
        Claim::Entered => {}
        Claim::Withdrawn(Some(other)) => return Some(other),
        Claim::Full if overflow::enter(packet, slot) => {}
        Claim::Withdrawn(None) | Claim::Full => return None,
    }
    count(slot);
    Some(slot)
}

/// By hash, and noted, so that the flow's next packets are placed alike although they open nothing.
#[inline(always)]
fn hashed(packet: &Packet, service: ServiceId) -> Result<u32, Exit> {
    if let Some(state) = maps::service_state(service) {
        state.hashed_at.store(packet.tick + 1);
    }
    if let Some(packets) = maps::hashed_count(service) {
        packets.add(1);
    }
    by_hash(packet, service, policy(service)?)
}

#[inline(always)]
fn count(slot: u32) {
    if let Some(counts) = maps::backend_counts(slot) {
        counts.connections.add(1);
    }
}
