//! A new connection, for a flow that has none or whose connection has ended: decides whether it gets one, and on which backend.
//!
//! ICMP errors and later fragments never get here.

use dispatcher_common::{
    reason::Reason,
    service::{Choices, ServiceId, orphan},
};
use dispatcher_ebpf::{
    outcome::{Answer, Exit},
    table::tracking::{self, Event},
};

use super::{
    affinity, rules,
    schedule::{self, Source},
};
use crate::bpf::{
    classify::classify,
    global::global,
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
/// While more connections are half-open than `syn_guard` allows, a SYN is placed by hash at once: it takes no turn of the
/// schedule, makes no entry, and costs little. Its flow's next packet, which a flood does not send, makes the entry.
#[inline(always)]
pub(crate) fn place(packet: &Packet) -> Result<u32, Exit> {
    if packet.event() == Event::OPEN && count::is_guarded() {
        return place_by_hash(packet);
    }
    let slot = choose(packet)?;
    settle(packet, slot)
}

/// Gives a connection that has ended a new slot.
#[inline(always)]
pub(crate) fn renew(packet: &Packet) -> Result<u32, Exit> {
    let slot = choose(packet)?;
    match renew_counted(packet, slot) {
        Some(renewed) => Ok(placed(packet, renewed)),
        // The entry was removed meanwhile: treat the flow as a new one.
        None => settle(packet, slot),
    }
}

/// Enters a flow with a chosen slot, or places it by hash; returns the slot to which the packet goes.
#[inline(always)]
fn settle(packet: &Packet, slot: u32) -> Result<u32, Exit> {
    match enter(packet, slot) {
        Some(entered) => Ok(placed(packet, entered)),
        None => place_by_hash(packet),
    }
}

/// The slot; a build that logs writes a line about it.
#[inline(always)]
fn placed(_packet: &Packet, slot: u32) -> u32 {
    #[cfg(feature = "log")]
    crate::bpf::log::placed(_packet, slot);
    slot
}

global! {
    /// Chooses a slot for a packet that has no connection, or whose connection has ended.
    fn choose(packet: &Packet) -> Result<u32, Exit> as dispatcher_choose {
        let service = classify(&packet.flow)?;
        let policy = policy(service)?;
        let choices = choices(policy);
        let (orphans, scheduler) = (choices.orphan(), choices.scheduler());
        let is_orphan = packet.is_tcp() && packet.event() != Event::OPEN;
        if is_orphan && was_hashed(packet, service, policy) {
            return by_hash(packet, service, policy);
        }
        // A SYN-ACK from a client with a record opens a connection: in active FTP the server sent the SYN.
        let has_record = !is_orphan || tracking::is_answer(packet.flags as u8);
        let known = if has_record { affinity::find(packet, service, policy) } else { None };
        let slot = match known {
            Some(slot) => slot,
            None => {
                if is_orphan && !schedule::is_hashed(scheduler) {
                    orphan(packet, service, orphans)?;
                }
                scheduled(packet, service, policy)?
            }
        };
        let slot = loops::away(packet.source, slot)?;
        affinity::remember(packet, policy, slot);
        Ok(slot)
    }

    /// Enters a flow with a chosen slot, in the table, else in the overflow map; returns the slot to which the packet goes. None if
    /// both are full: the flow's packets are then placed by hash, without an entry, until there is room.
    fn enter(packet: &Packet, slot: u32) -> Option<u32> as dispatcher_enter {
        match claim(packet, slot) {
            Claim::Entered => {}
            Claim::Withdrawn(Some(other)) => return Some(other),
            Claim::Full if overflow::enter(packet, slot) => {}
            Claim::Withdrawn(None) | Claim::Full => return None,
        }
        count(slot);
        Some(slot)
    }

    /// As [`renew`], with a chosen slot; none if the connection is no longer there.
    fn renew_counted(packet: &Packet, slot: u32) -> Option<u32> as dispatcher_renew {
        let renewed = renew_in_place(packet, slot)?;
        if renewed == slot {
            count(slot);
        }
        Some(renewed)
    }

    /// Places a flow by hash. The service's state records that, so that the flow's next packets are placed in the same way although
    /// they open no connection.
    fn place_by_hash(packet: &Packet) -> Result<u32, Exit> as dispatcher_hashed {
        let service = classify(&packet.flow)?;
        if let Some(state) = maps::service_state(service) {
            state.hashed_at.store(packet.tick + 1);
        }
        if let Some(packets) = maps::hashed_count(service) {
            packets.add(1);
        }
        by_hash(packet, service, policy(service)?)
    }
}

/// The slot from the schedule of the first rule that holds, else from the service's.
#[inline(always)]
fn scheduled(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Result<u32, Exit> {
    let rule = rules::find(packet, service, policy);
    if let Some(rule) = rule {
        rule.connections.fetch_add(1);
    }
    let scheduler = choices(policy).scheduler();
    source(rule, service, policy)
        .and_then(|source| schedule::next(service, scheduler, source, &packet.flow))
        .ok_or(Exit::of(service, Reason::NoBackend))
}

/// The slot that a hash selects: in the ring of the first rule that holds, else in the service's.
#[inline(always)]
fn by_hash(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Result<u32, Exit> {
    let source = source(rules::find(packet, service, policy), service, policy);
    let scheduler = choices(policy).scheduler();
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

/// A service's policy. Every service has one.
#[inline(always)]
fn policy(service: ServiceId) -> Result<PolicyWords, Exit> {
    maps::policy(service).ok_or(Exit::of(service, Reason::NoBackend))
}

#[inline(always)]
fn choices(policy: PolicyWords) -> Choices {
    Choices(policy.choices.load())
}

/// Applies the service's policy to a TCP packet that opens no connection: an exit, unless it is treated as a new connection's
/// packet.
#[inline(always)]
fn orphan(packet: &Packet, service: ServiceId, policy: u8) -> Result<(), Exit> {
    match policy {
        orphan::SCHEDULE => Ok(()),
        orphan::PASS => Err(Exit::of(service, Reason::OrphanPassed)),
        policy => {
            let exit = Exit::of(service, tracking::orphan(packet.flags as u8));
            let answer = if policy == orphan::RESET { Answer::Reset } else { Answer::Nothing };
            Err(exit.answered(answer))
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

#[inline(always)]
fn count(slot: u32) {
    if let Some(counts) = maps::backend_counts(slot) {
        counts.connections.add(1);
    }
}
