//! Chooses a backend by what was measured in the current window: the fastest, or the one that delivered the fewest bytes.

use dispatcher_common::{
    backend::NEW,
    limits::MAX_COUNTED_BACKENDS,
    measure::{ByteWindow, ResponseWindow, window},
    service::{Schedule, ServiceId, scheduler},
};
use dispatcher_ebpf::choose::sampled::Pick;

use super::members::RUN;
use crate::bpf::{backend::load, clock::now, global::global, maps};

/// The member with the best sample; see [`Pick`].
#[inline(always)]
pub(super) fn best(service: ServiceId, ring: Schedule, scheduler: u8) -> Option<u32> {
    let (members, window) = (u64::from(maps::members(ring)), window(now()));
    let mut pick = Pick::EMPTY;
    let is_by_bytes = u64::from(scheduler == scheduler::BYTES);
    for run in 0..MAX_COUNTED_BACKENDS as u64 / RUN {
        if run * RUN >= members {
            break;
        }
        let service_and_scheduler = u64::from(service) | is_by_bytes << 32;
        see_run(service_and_scheduler, ring, run * RUN, window, &mut pick);
    }
    maps::member(ring, pick.best()?)
}

global! {
    /// Considers one run of members. Service and scheduler share a word, since a function has at most five arguments.
    fn see_run(service_and_scheduler: u64, ring: Schedule, from: u64, window: u64, pick: &mut Pick) -> ()
    as dispatcher_measured_run {
        let members = u64::from(maps::members(ring));
        for number in 0..RUN {
            let number = from + number;
            if number >= members {
                break;
            }
            see_member(service_and_scheduler, ring, number, window, pick);
        }
    }

    /// Considers one member, if it takes connections.
    fn see_member(service_and_scheduler: u64, ring: Schedule, number: u64, window: u64, pick: &mut Pick) -> ()
    as dispatcher_measured_member {
        let Some(slot) = maps::member(ring, number as u32) else { return };
        let Some((active, _)) = load(service_and_scheduler as u32, slot, NEW) else { return };
        let sample = if service_and_scheduler >> 32 != 0 {
            maps::byte_window(slot).map(|bytes| ByteWindow(bytes.load()).bytes(window))
        } else {
            maps::response_window(slot)
                .and_then(|responses| ResponseWindow(responses.load()).mean(window))
        };
        pick.see(number, active, sample);
    }
}
