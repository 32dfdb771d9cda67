//! How a value is kept out of the optimiser's sight.
//!
//! LLVM turns branch-free arithmetic over the eight ways of a bucket back into branches, and the verifier then walks
//! every combination of them (more than 10⁶ instructions, kernel 6.18). It also derives one packet pointer from another
//! in ways the verifier cannot follow.

/// The same value, of which the optimiser knows nothing.
#[inline(always)]
#[must_use]
pub fn hide(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut hidden = value;
        // An empty asm! would leave line information without an instruction, which the kernel refuses.
        // SAFETY: the one instruction copies a register to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) hidden, options(pure, nomem, nostack, preserves_flags));
        }
        hidden
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(value)
}

/// As [`hide`], for an address.
#[inline(always)]
#[must_use]
pub fn hide_address(address: usize) -> usize {
    hide(address as u64) as usize
}

/// As [`hide`], for a reference: what it points to stays in memory, instead of being spilled beside it.
#[inline(always)]
#[must_use]
pub fn hide_reference<T>(reference: &mut T) -> &mut T {
    let address = hide_address((&raw mut *reference).expose_provenance());
    // SAFETY: the address is the reference's own, and the reference is not used meanwhile.
    unsafe { &mut *core::ptr::with_exposed_provenance_mut(address) }
}
