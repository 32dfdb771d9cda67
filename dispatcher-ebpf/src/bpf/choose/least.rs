//! The member of a schedule with the fewest connections.

use dispatcher_common::{
    limits::MAX_COUNTED_BACKENDS,
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::choose::least::Least;

use super::members::{RUN, UNAVAILABLE, member};
use crate::bpf::maps;

/// The member with the fewest active connections, for its weight if the scheduler says so; the first of equals.
#[inline(always)]
pub(super) fn least(service: ServiceId, scheduler: u8, ring: Schedule) -> Option<u32> {
    let is_weighted = scheduler == scheduler::WEIGHTED_LEAST;
    let least = dispatcher_least(u64::from(service), ring.0, u64::from(is_weighted));
    let slot = Least(least).slot();
    (slot != Least::NOBODY.slot()).then_some(slot)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_least(service: u64, ring: u64, is_weighted: u64) -> u64 {
    let members = maps::members(Schedule(ring));
    let mut least = Least::NOBODY.0;
    for run in 0..MAX_COUNTED_BACKENDS as u64 / RUN {
        if run * RUN >= u64::from(members) {
            break;
        }
        least = dispatcher_least_run(service, ring, is_weighted, run * RUN, least);
    }
    least
}

/// As [`dispatcher_least`], of the least so far and one run of members.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_least_run(
    service: u64,
    ring: u64,
    is_weighted: u64,
    from: u64,
    least: u64,
) -> u64 {
    let members = u64::from(maps::members(Schedule(ring)));
    let mut least = Least(least);
    for number in from..from + RUN {
        if number >= members {
            break;
        }
        let member = member(service, ring, number);
        if member != UNAVAILABLE {
            let member = Least(member);
            least = least.or(if is_weighted != 0 { member } else { member.unweighted() });
        }
    }
    least.0
}
