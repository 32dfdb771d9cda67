//! The member of a schedule with the fewest connections.

use dispatcher_common::{
    limits::MAX_COUNTED_BACKENDS,
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::choose::least::Least;

use super::members::{RUN, member};
use crate::bpf::{global::global, maps};

/// The member with the fewest active connections, for its weight if the scheduler says so; the first of equals.
#[inline(always)]
pub(super) fn best(service: ServiceId, ring: Schedule, scheduler: u8) -> Option<u32> {
    let slot = of_all(service, ring, scheduler == scheduler::WEIGHTED_LEAST).slot();
    (slot != Least::NOBODY.slot()).then_some(slot)
}

global! {
    fn of_all(service: ServiceId, ring: Schedule, is_weighted: bool) -> Least as dispatcher_least {
        let members = u64::from(maps::members(ring));
        let mut least = Least::NOBODY;
        for run in 0..MAX_COUNTED_BACKENDS as u64 / RUN {
            if run * RUN >= members {
                break;
            }
            least = of_run(service, ring, is_weighted, run * RUN, least);
        }
        least
    }

    /// The best of the least so far and one run of members.
    fn of_run(service: ServiceId, ring: Schedule, is_weighted: bool, from: u64, least: Least) -> Least
    as dispatcher_least_run {
        let members = u64::from(maps::members(ring));
        let mut least = least;
        for number in from..from + RUN {
            if number >= members {
                break;
            }
            if let Some(member) = member(service, ring, number as u32) {
                least = least.or(if is_weighted { member } else { member.unweighted() });
            }
        }
        least
    }
}
