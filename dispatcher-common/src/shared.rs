//! The macros that declare types shared through a map, and constants with the documentation that reference pages show.

/// Declares a `#[repr(C)]` struct that lives in a map.
///
/// Proves at compile time that the struct has the stated size and no implicit padding (its size is the sum of its
/// fields'), and under the feature `user` promises `aya::Pod`.
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
            pub const ZERO: Self = {
                // SAFETY: the struct is made of integers and arrays of them, for which all-zero is valid.
                unsafe { core::mem::zeroed() }
            };
        }

        // SAFETY: `repr(C)`, integers only, and without padding as asserted above: any bytes are a value and every byte
        // of a value is initialised.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

/// Declares public constants, and lists them with their doc comments in `DOCUMENTED`, which the reference pages are made of.
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
