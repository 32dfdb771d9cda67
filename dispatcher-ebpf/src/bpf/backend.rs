//! Checks whether a backend takes a connection.

use dispatcher_common::{backend::Share, counts::ActiveCount, service::ServiceId};

use super::maps::{self, Backend};

/// Whether a slot is the service's, has a flag ([`dispatcher_common::backend::NEW`] or `STICKY`), and is not full.
#[inline(always)]
pub(crate) fn takes(service: ServiceId, slot: u32, flag: u8) -> bool {
    load(service, slot, flag).is_some()
}

/// Active connections and share of a slot for which [`takes`] holds.
#[inline(always)]
pub(crate) fn load(service: ServiceId, slot: u32, flag: u8) -> Option<(u64, Share)> {
    let Backend { forward, service: owner, share } = maps::backend(slot);
    if forward.flags() & flag == 0 || owner != service {
        return None;
    }
    let count = ActiveCount(maps::active_count(slot).map_or(0, |count| count.load()));
    (!share.is_full(count)).then_some((count.active(), share))
}
