//! Types shared through a map: their layout, their bytes as another such type, and constants that reference pages show.

/// A type that lives in map memory.
///
/// # Safety
/// Any bytes are a value of it, and every byte of a value is initialised: integers without padding.
pub unsafe trait Shared: Copy {
    /// All bytes 0: the contents of a map where nothing was written.
    const ZERO: Self;
}

macro_rules! integers {
    ($($type:ty),+) => { $(
        // SAFETY: an integer.
        unsafe impl Shared for $type {
            const ZERO: Self = 0;
        }
    )+ };
}

integers!(u8, u16, u32, u64, i32);

// SAFETY: an array has no padding between its elements.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {
    const ZERO: Self = [T::ZERO; N];
}

/// The bytes of a value as a value of another type of the same size.
#[inline(always)]
#[must_use]
pub const fn cast<From: Shared, To: Shared>(value: From) -> To {
    #[repr(C)]
    union Both<From: Copy, To: Copy> {
        from: From,
        to: To,
    }
    const { assert!(size_of::<From>() == size_of::<To>()) };
    // SAFETY: both types have the same size. Every byte of `value` is initialised, and any bytes are a `To`.
    unsafe { Both { from: value }.to }
}

/// A value as the bytes of another type of the same size, which needs no greater alignment.
#[inline(always)]
#[must_use]
pub const fn cast_ref<From: Shared, To: Shared>(value: &From) -> &To {
    const { assert!(size_of::<From>() == size_of::<To>() && align_of::<From>() >= align_of::<To>()) };
    // SAFETY: both types have the same size, and the alignment suffices. Any initialised bytes are a `To`.
    unsafe { &*(&raw const *value).cast::<To>() }
}

/// Declares a `#[repr(C)]` struct that lives in a map.
///
/// Proves at compile time that the struct has the stated size, shared types as fields, and no implicit padding (its size is the
/// sum of its fields'). Under the feature `user` it promises `aya::Pod`.
macro_rules! shared {
    ($(#[$meta:meta])* pub struct $name:ident [$size:literal] {
        $($(#[$fmeta:meta])* pub $field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        const _: () = assert!(size_of::<$name>() == $size);
        const _: () = assert!(0 $(+ size_of::<$type>())+ == $size, "implicit padding");

        impl $name {
            /// The all-zero value, which is what a map holds where nothing was written.
            pub const ZERO: Self = Self { $($field: <$type as $crate::shared::Shared>::ZERO),+ };
        }

        // SAFETY: `repr(C)`, of shared types only, and without padding, as is asserted above.
        unsafe impl $crate::shared::Shared for $name {
            const ZERO: Self = Self::ZERO;
        }

        // SAFETY: as for `Shared`.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

/// Declares public constants, and lists them with their doc comments in `DOCUMENTED`. The reference pages show this list.
macro_rules! documented {
    ($($(#[doc = $doc:literal])+ pub const $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: $type = $value;)+

        /// The constants above, for the reference pages.
        pub const DOCUMENTED: &[$crate::Constant] = &[$($crate::Constant {
            name: stringify!($name),
            value: stringify!($value),
            text: concat!($($doc, " "),+),
        }),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_keeps_the_bytes() {
        let bytes: [u8; 8] = cast([1_u16, 2, 3, 4]);
        assert_eq!(bytes, [1, 0, 2, 0, 3, 0, 4, 0]);
        assert_eq!(cast::<[u8; 8], u64>(bytes), 0x0004_0003_0002_0001);
    }
}
