//! Maps that are a section of the object: the program finds their elements by address, without a lookup.

use core::cell::UnsafeCell;

use dispatcher_common::shared::Shared;

/// `N` elements that the controller writes while the program reads; `N` is a power of two.
#[repr(transparent)]
pub(crate) struct Section<T, const N: usize>(UnsafeCell<[T; N]>);

// SAFETY: elements are returned as pointers only; each reader has its own SAFETY comment.
unsafe impl<T, const N: usize> Sync for Section<T, N> {}

impl<T: Shared, const N: usize> Section<T, N> {
    /// All bytes 0.
    #[allow(clippy::declare_interior_mutable_const, reason = "it only initialises statics")]
    pub(crate) const EMPTY: Self = Self(UnsafeCell::new([T::ZERO; N]));

    /// The element at an index; for an index that is too large, another element.
    #[inline(always)]
    pub(crate) fn element(&self, index: u32) -> *mut T {
        const { assert!(N.is_power_of_two()) };
        let index = index as usize & (N - 1);
        self.0.get().cast::<T>().wrapping_add(index)
    }
}
