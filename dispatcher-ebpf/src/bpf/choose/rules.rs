//! Does a rule of the service say on which of its backends a new connection is placed?
//!
//! The first one that holds and has a backend with room. Neither a rule that is switched at this moment nor one whose
//! conditions hold only for some packets of a flow breaks a connection that has an entry; a flow that is placed by hash
//! looks at the rules with every packet, and moves when what holds changes.

use dispatcher_common::{
    limits::MAX_CONDITIONS,
    rule::{RuleId, RuleSet},
    service::{Schedule, ServiceId},
};
use dispatcher_ebpf::choose::rules::holds;

use super::members::{NOBODY, dispatcher_any};
use crate::bpf::{
    maps::{self, PolicyWords, RuleWords},
    packet::Packet,
};

/// The rule by which a packet's connection is to be placed.
#[inline(always)]
pub(crate) fn find(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Option<RuleWords> {
    let rules = policy.rules.load();
    if rules == 0 {
        return None;
    }
    match dispatcher_rule(packet, u64::from(service), rules) {
        NONE => None,
        rule => maps::rule(rule as RuleId),
    }
}

/// No rule.
const NONE: u64 = u64::MAX;

/// As [`find`]; yields the rule's id, or [`NONE`]. A global function for the same reason as [`super::super::table::lookup`]'s.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_rule(packet: *const Packet, service: u64, rules: u64) -> u64 {
    let rules = RuleSet(rules);
    for number in 0..MAX_CONDITIONS {
        if number >= rules.count() {
            break;
        }
        let rule = dispatcher_condition(packet, u64::from(rules.offset().wrapping_add(number)));
        if rule != NONE && has_room(service, rule as RuleId) {
            return rule;
        }
    }
    NONE
}

/// Whether one of the rule's backends takes new connections.
#[inline(always)]
fn has_room(service: u64, rule: RuleId) -> bool {
    let ring = maps::rule(rule).map_or(0, |rule| rule.schedule.load());
    Schedule(ring).length() != 0 && dispatcher_any(service, ring, 0) != u64::from(NOBODY)
}

/// The id of a condition's rule if it holds, else [`NONE`]. A global function: the verifier walks it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_condition(packet: *const Packet, number: u64) -> u64 {
    // SAFETY: `find` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return NONE };
    let Some(condition) = maps::condition(number as u32) else { return NONE };
    if !holds(&condition, &packet.flow, packet.tos()) {
        return NONE;
    }
    let is_active = maps::rule(condition.rule).is_some_and(|rule| rule.active.load() != 0);
    if is_active { u64::from(condition.rule) } else { NONE }
}
