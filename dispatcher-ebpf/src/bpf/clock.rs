//! The monotonic clock, in the resolution that a packet needs.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use dispatcher_common::connection::TICK_SHIFT;

use super::config;

/// Nanoseconds as of the clock's last update: reading them costs 2 ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds as of this moment.
#[inline(always)]
pub(crate) fn precisely() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// Ticks of 2³² ns, from the jiffies that the kernel counts by this clock: two instructions instead of a call. They may be
/// a jiffy or two off [`now`], and [`now`] off the controller's clock, so a stamp may lie a tick ahead of its reader.
#[inline(always)]
pub(crate) fn tick() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    config::monotonic_ns(unsafe { bpf_jiffies64() }) >> TICK_SHIFT
}
