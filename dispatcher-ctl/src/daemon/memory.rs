//! Returns memory to the system after a large change or answer.
//!
//! glibc keeps freed memory in pieces, for each thread separately: after a reload of thousands of backends that is more than
//! the daemon needs otherwise.

/// Large buffers (answers) are mapped, and returned when they are freed; small values share one arena.
#[cfg(target_env = "gnu")]
pub fn set_up() {
    const LARGE: libc::c_int = 256 << 10;
    // SAFETY: this sets three parameters of the allocator; at worst it refuses them and nothing changes.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * LARGE);
    }
}

/// Returns free memory between values.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: only free memory is returned.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators need no help.
#[cfg(not(target_env = "gnu"))]
pub fn set_up() {}

/// Other allocators need no help.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
