//! Barriers: the optimiser knows nothing about a value that went through one.
//!
//! LLVM turns branch-free arithmetic over the eight ways of a bucket back into branches, and the verifier then walks
//! every combination of them. It also computes packet pointers in ways that the verifier cannot follow, and keeps values on the
//! stack. Each use says whether it is for the verifier or for the optimiser, and what happens without it. "Stack", "instructions"
//! and "walked" are figures of the packet tests `record`; `object` checks the rules of kernel 6.1. The figures are those of
//! rustc 1.95 and kernel 6.18.

/// The same value, about which the optimiser knows nothing.
#[inline(always)]
#[must_use]
pub fn hide(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut hidden = value;
        // An empty `asm!` would leave line information without an instruction, which the kernel refuses.
        // SAFETY: the one instruction copies a register to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) hidden, options(pure, nomem, nostack, preserves_flags));
        }
        hidden
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(value)
}

/// As [`hide`], for a value that must be computed here and not later: until then, its operands would be kept on the stack.
#[inline(always)]
#[must_use]
pub fn compute(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut computed = value;
        // SAFETY: as in `hide`. Not `pure`: the compiler may move pure assembly.
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
