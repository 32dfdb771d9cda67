//! The program's constants: what the controller sets in `.rodata` before it loads the program for a NIC.

use core::ptr;

use dispatcher_common::settings::Config;

/// Set by the controller before loading; the default reaches every bucket of the maps' default size.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
pub(crate) static CONFIG: Config = Config { bucket_mask: 1023, hash_keys: [1; 12], ..Config::ZERO };

/// Index of the NIC this program is attached to.
#[inline(always)]
pub(crate) fn interface() -> u32 {
    // SAFETY: `CONFIG` is a valid static. The read is volatile because its value is that of load time, not this one.
    unsafe { ptr::read_volatile(&raw const CONFIG.interface) }
}
