//! The program's constants: the controller sets them in `.rodata` before it loads the program for a NIC.
//!
//! Every read is volatile, because the values are set at load time, not at compile time.

use core::ptr;

use dispatcher_common::{flow::HASH_KEYS, settings::Config};

/// Set by the controller before loading; the default reaches every bucket of the maps' default size.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static CONFIG: Config = Config { bucket_mask: 1023, hash_keys: [1; HASH_KEYS], ..Config::ZERO };

macro_rules! read {
    ($($field:tt)+) => {{
        // SAFETY: `CONFIG` is a static and is not written while the program runs.
        unsafe { ptr::read_volatile(&raw const CONFIG.$($field)+) }
    }};
}

/// Index of the NIC this program is attached to.
#[inline(always)]
pub(crate) fn interface() -> u32 {
    read!(interface)
}

/// The monotonic clock at a count of jiffies.
#[inline(always)]
pub(crate) fn monotonic_ns(jiffies: u64) -> u64 {
    jiffies.wrapping_mul(read!(jiffy_ns)).wrapping_add(read!(jiffies_epoch))
}

/// Buckets of the connection table − 1.
#[inline(always)]
pub(crate) fn bucket_mask() -> u32 {
    read!(bucket_mask)
}

/// A key of the table's hash. `index` is a constant below [`HASH_KEYS`] wherever it is used.
#[inline(always)]
pub(crate) fn hash_key(index: usize) -> u64 {
    read!(hash_keys[index])
}

/// Keys of the hash that places flows on a schedule.
#[inline(always)]
pub(crate) fn schedule_keys() -> [u64; 2] {
    [read!(schedule_keys[0]), read!(schedule_keys[1])]
}
