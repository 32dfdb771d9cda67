//! How is memory given back that only a large change or answer took?
//!
//! glibc keeps what is freed, in pieces, for each thread of its own: after a reload of thousands of backends that is more than
//! the daemon needs to live.

/// Large buffers (records, answers) are mapped and go back when they are freed; small values lie in one place.
#[cfg(target_env = "gnu")]
pub fn set_up() {
    const LARGE: libc::c_int = 256 << 10;
    // SAFETY: three numbers of the allocator are set; at worst they are refused, and all is as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * LARGE);
    }
}

/// Gives back what lies free between values.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: only memory that is nobody's is given back.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators know by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn set_up() {}

/// Other allocators know by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
