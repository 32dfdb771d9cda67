//! Helpers of the kernel that need no context, in safe form.

use core::ptr;

use aya_ebpf::helpers::generated as kernel;
use dispatcher_ebpf::frame::Window;

/// Declares helpers that take numbers only.
macro_rules! of_numbers {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $helper:ident;)+) => { $(
        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name($($argument: $type),*) -> $result {
            // SAFETY: the helper reads and writes no memory of the program.
            unsafe { kernel::$helper($($argument),*) }
        }
    )+ };
}

of_numbers! {
    /// Nanoseconds of the monotonic clock as of its last update.
    fn coarse_ns() -> u64 = bpf_ktime_get_coarse_ns;
    /// Nanoseconds of the monotonic clock at this moment.
    fn exact_ns() -> u64 = bpf_ktime_get_ns;
    /// The kernel's count of timer ticks.
    fn jiffies() -> u64 = bpf_jiffies64;
    /// Has the kernel send a TC program's packet out of a NIC. Returns `TC_ACT_REDIRECT`, or `TC_ACT_SHOT`.
    fn redirect(ifindex: u32, flags: u64) -> i64 = bpf_redirect;
}

/// The sum of a window's bytes as native words, added to a sum before.
#[inline(always)]
pub(crate) fn sum<const BYTES: usize>(window: Window<BYTES>, before: u32) -> u32 {
    let at = window.address() as *mut u32;
    // SAFETY: the helper only reads the window's bytes, which are in the frame.
    unsafe { kernel::bpf_csum_diff(ptr::null_mut(), 0, at, BYTES as u32, before) as u32 }
}
