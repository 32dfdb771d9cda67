//! Words of services: policy, rules, affinity, schedule.

use dispatcher_common::{
    rule::{Condition, RuleId},
    service::{
        AffinityKey, AffinityRecord, PeerKey, SCHEDULE_PACK, Schedule, ServiceId, ServiceKey,
    },
};

use super::{AFFINITY, CONDITIONS, PEERS, POLICIES, RULES, SCHEDULES, SERVICE_STATE, SERVICES};
use crate::bpf::shared_word::Word;

/// The service with exactly this key.
#[inline(always)]
pub(crate) fn service(key: &ServiceKey) -> Option<ServiceId> {
    // If the controller removes the element meanwhile, and the next insertion reuses it, the id is that of another service,
    // whose ring has no backend of this one.
    SERVICES.get_ptr(key).map(|id| read!(id))
}

/// The words of a service's policy.
#[derive(Clone, Copy)]
pub(crate) struct PolicyWords {
    /// Its ring.
    pub(crate) schedule: Word,
    /// Its choices.
    pub(crate) choices: Word,
    /// Its `stale_timeout` in ticks.
    pub(crate) stale_ticks: Word,
    /// Its affinity.
    pub(crate) affinity: Word,
    /// Its rules.
    pub(crate) rules: Word,
    /// Slot of its local backend.
    pub(crate) local: Word,
}

/// The policy of a service.
#[inline(always)]
pub(crate) fn policy(service: ServiceId) -> Option<PolicyWords> {
    let value = POLICIES.get_ptr_mut(service)?;
    Some(PolicyWords {
        schedule: word!(value, .schedule),
        choices: word!(value, .choices),
        stale_ticks: word!(value, .stale_ticks),
        affinity: word!(value, .affinity),
        rules: word!(value, .rules),
        local: word!(value, .local),
    })
}

/// The words of a rule.
#[derive(Clone, Copy)]
pub(crate) struct RuleWords {
    /// Its ring.
    pub(crate) schedule: Word,
    /// Whether the conditions hold that the controller checks.
    pub(crate) active: Word,
    /// Next position of its ring.
    pub(crate) cursor: Word,
    /// Connections whose backend it chose.
    pub(crate) connections: Word,
}

/// A rule.
#[inline(always)]
pub(crate) fn rule(rule: RuleId) -> Option<RuleWords> {
    let value = RULES.get_ptr_mut(rule)?;
    Some(RuleWords {
        schedule: word!(value, .schedule),
        active: word!(value, .active),
        cursor: word!(value, .cursor),
        connections: word!(value, .connections),
    })
}

/// A condition of a rule.
#[inline(always)]
pub(crate) fn condition(number: u32) -> Option<Condition> {
    // The controller writes only space to which no set of rules leads, and reuses space only when no packet reads it any more.
    CONDITIONS.get_ptr(number).map(|condition| copy!(condition))
}

/// The affinity record of a client.
#[inline(always)]
pub(crate) fn affinity(key: &AffinityKey) -> Option<u64> {
    // If the element is removed and reused meanwhile, the record is another client's: its backend is then one of the service, but
    // not this client's, or none.
    AFFINITY.get_ptr(key).map(|record| read!(record))
}

/// Stores the affinity record of a client, if there is room.
#[inline(always)]
pub(crate) fn remember(key: &AffinityKey, record: AffinityRecord) {
    let _ = AFFINITY.insert(key, &record.0, 0);
}

/// The slot of the same backend in another service of an affinity group.
#[inline(always)]
pub(crate) fn peer(key: &PeerKey) -> Option<u32> {
    // The caller checks to which service the slot belongs.
    PEERS.get_ptr(key).map(|slot| read!(slot))
}

/// The words that the datapath keeps of a service.
#[derive(Clone, Copy)]
pub(crate) struct ServiceWords {
    /// Next position of its ring.
    pub(crate) cursor: Word,
    /// When it last placed a packet by hash.
    pub(crate) hashed_at: Word,
}

/// The words that the datapath keeps of a service.
#[inline(always)]
pub(crate) fn service_state(service: ServiceId) -> Option<ServiceWords> {
    let value = SERVICE_STATE.get_ptr_mut(service)?;
    Some(ServiceWords { cursor: word!(value, .cursor), hashed_at: word!(value, .hashed_at) })
}

/// The number of a schedule's members.
#[inline(always)]
pub(crate) fn members(schedule: Schedule) -> u32 {
    scheduled(schedule, schedule.length()).unwrap_or(0)
}

/// A member of a schedule.
#[inline(always)]
pub(crate) fn member(schedule: Schedule, number: u32) -> Option<u32> {
    scheduled(schedule, schedule.length().wrapping_add(1).wrapping_add(number))
}

/// A slot of a ring, or of the members behind it.
#[inline(always)]
pub(crate) fn scheduled(schedule: Schedule, position: u32) -> Option<u32> {
    let at = schedule.offset().wrapping_add(position);
    let pack = SCHEDULES.get_ptr(at / SCHEDULE_PACK as u32)?;
    // The mask keeps the index within the element.
    let slot = pack.cast::<u16>().wrapping_add(at as usize & (SCHEDULE_PACK - 1));
    Some(u32::from(read!(slot)))
}
