//! The monotonic clock, in the resolution that a packet needs.

use dispatcher_common::connection::TICK_SHIFT;

use super::{config, helper};

/// Nanoseconds as of the clock's last update: reading them costs 2 ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    helper::coarse_ns()
}

/// Nanoseconds as of this moment.
#[inline(always)]
pub(crate) fn precisely() -> u64 {
    helper::exact_ns()
}

/// Ticks of 2³² ns, from the jiffies that the kernel counts by this clock: two instructions instead of a call. They may differ
/// from [`now`] by a jiffy or two, and [`now`] from the controller's clock, so a stamp may be a tick ahead of its reader.
#[inline(always)]
pub(crate) fn tick() -> u64 {
    config::monotonic_ns(helper::jiffies()) >> TICK_SHIFT
}
