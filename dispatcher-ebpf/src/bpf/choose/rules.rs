//! Rules: the first one that holds and has a backend with room selects the backends for a new connection.
//!
//! A connection with an entry stays, even if a rule is switched or its conditions hold only for some packets of the flow. Every
//! packet of a flow that is placed by hash is compared with the rules; the flow moves when another rule holds.

use dispatcher_common::{
    limits::MAX_CONDITIONS,
    rule::{RuleId, RuleSet},
    service::{Schedule, ServiceId},
};
use dispatcher_ebpf::choose::rules::holds;

use super::members::any;
use crate::bpf::{
    global::global,
    maps::{self, PolicyWords, RuleWords},
    packet::Packet,
};

/// The rule by which a packet's connection is placed.
#[inline(always)]
pub(super) fn find(packet: &Packet, service: ServiceId, policy: PolicyWords) -> Option<RuleWords> {
    let rules = RuleSet(policy.rules.load());
    if rules == RuleSet(0) {
        return None;
    }
    maps::rule(first(packet, service, rules)?)
}

global! {
    /// The first rule that holds and has a backend that takes new connections.
    fn first(packet: &Packet, service: ServiceId, rules: RuleSet) -> Option<RuleId>
    as dispatcher_rule {
        for number in 0..MAX_CONDITIONS {
            if number >= rules.count() {
                break;
            }
            let rule = if_met(packet, rules.offset().wrapping_add(number));
            if let Some(rule) = rule
                && has_room(service, rule)
            {
                return Some(rule);
            }
        }
        None
    }

    /// The rule to which a condition leads, if the condition is met and the rule is active.
    fn if_met(packet: &Packet, number: u32) -> Option<RuleId> as dispatcher_condition {
        let condition = maps::condition(number)?;
        if !holds(&condition, &packet.flow, packet.tos()) {
            return None;
        }
        let is_active = maps::rule(condition.rule).is_some_and(|rule| rule.active.load() != 0);
        is_active.then_some(condition.rule)
    }
}

/// Whether one of the rule's backends takes new connections.
#[inline(always)]
fn has_room(service: ServiceId, rule: RuleId) -> bool {
    let ring = Schedule(maps::rule(rule).map_or(0, |rule| rule.schedule.load()));
    ring.length() != 0 && any(service, ring, 0).is_some()
}
