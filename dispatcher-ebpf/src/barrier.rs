//! Barriers: the optimiser knows nothing of a value that went through one.
//!
//! LLVM turns branch-free arithmetic over the eight ways of a bucket back into branches, and the verifier then walks
//! every combination of them (more than 10⁶ instructions, kernel 6.18). It also derives one packet pointer from another
//! in ways the verifier cannot follow. Each use says whether it is for the verifier or for the optimiser. The packet tests
//! `object` (kernel 6.1's rules) and `record` (what the verifier walks, and what the programs cost) fail without them.

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

/// As [`hide`], for a value that is to be computed here and not later: what it is made of would else be kept on the stack
/// until then.
#[inline(always)]
#[must_use]
pub fn compute(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut computed = value;
        // SAFETY: as in `hide`. Not `pure`, which would let it be moved.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) computed, options(nomem, nostack, preserves_flags));
        }
        computed
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
