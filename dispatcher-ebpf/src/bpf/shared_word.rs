//! A `u64` in map memory that other CPUs and the controller use at the same time: volatile access, compare-and-swap, atomic add.

use core::{arch::asm, ptr};

/// A word in a map value.
#[derive(Clone, Copy)]
pub(crate) struct Word(*mut u64);

impl Word {
    /// The word at an address.
    ///
    /// # Safety
    /// The address must be that of eight aligned bytes of a map value. Map values stay valid while the program runs.
    #[inline(always)]
    pub(crate) const unsafe fn new(at: *mut u64) -> Self {
        Self(at)
    }

    /// Its address.
    #[inline(always)]
    pub(crate) const fn at(self) -> *mut u64 {
        self.0
    }

    /// Its value. A volatile load, since LLVM cannot select atomic ones for BPF before v4; the kernel compiles it to one
    /// load.
    #[inline(always)]
    pub(crate) fn load(self) -> u64 {
        // SAFETY: see `new`.
        unsafe { ptr::read_volatile(self.0) }
    }

    /// Overwrites it.
    #[inline(always)]
    pub(crate) fn store(self, value: u64) {
        // SAFETY: see `new`.
        unsafe { ptr::write_volatile(self.0, value) }
    }

    /// Replaces `old` by `new`; false if the word had another value. The BPF target has no `AtomicU64::compare_exchange`.
    #[inline(always)]
    pub(crate) fn replace(self, old: u64, new: u64) -> bool {
        let mut found = old;
        // SAFETY: see `new`. The instruction has r0 as its implicit operand and result.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({at} + 0, r0, {new})",
                at = in(reg) self.0,
                new = in(reg) new,
                inout("r0") found,
                options(nostack),
            );
        }
        found == old
    }

    /// Adds atomically, and returns the value before.
    #[inline(always)]
    pub(crate) fn fetch_add(self, amount: u64) -> u64 {
        let mut value = amount;
        // SAFETY: see `new`.
        unsafe {
            asm!(
                "{value} = atomic_fetch_add((u64 *)({at} + 0), {value})",
                at = in(reg) self.0,
                value = inout(reg) value,
                options(nostack),
            );
        }
        value
    }

    /// Adds to a word that only this CPU writes.
    #[inline(always)]
    pub(crate) fn add(self, amount: u64) {
        self.store(self.load().wrapping_add(amount));
    }
}
