//! Global functions: the verifier checks each by itself, for any arguments, and not again at every call.
//!
//! So it walks fewer instructions, and the stack is small: only functions that call each other share it. [`global!`] declares
//! them. The verifier knows the type of a pointer argument, and that it may be null: the only checks for null are here.

use aya_ebpf::bindings::xdp_md;
use dispatcher_common::{
    connection::Way,
    rule::RuleSet,
    service::{Affinity, Schedule},
};
use dispatcher_ebpf::{
    choose::least::Least,
    outcome::{Exit, pack, unpack},
    parse::{Contents, Segment},
};

use super::{context::Context, shared_word::Word};

/// An argument of a global function, which takes at most five.
pub(crate) trait Argument: Sized {
    /// The type by which the verifier knows it.
    type Raw;

    /// The argument as it is passed.
    fn pass(self) -> Self::Raw;

    /// The argument again; none for a null pointer.
    ///
    /// # Safety
    /// `raw` must be null, or what [`Self::pass`] returned for an argument that is still borrowed.
    unsafe fn receive(raw: Self::Raw) -> Option<Self>;
}

/// A value that fits a register, such as the result of a global function.
pub(crate) trait Register: Sized {
    /// The value as a word.
    fn to_word(self) -> u64;

    /// The value again.
    fn of_word(word: u64) -> Self;
}

/// Declares global functions. `as` names the symbol, which is the name in the kernel.
macro_rules! global {
    ($(
        $(#[$meta:meta])*
        $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty
        as $symbol:ident $body:block
    )+) => { $(
        $(#[$meta])*
        #[inline(always)]
        $visible fn $name($($argument: $type),*) -> $result {
            use $crate::bpf::global::{Argument, Register};

            #[inline(never)]
            #[unsafe(no_mangle)]
            extern "C" fn $symbol($($argument: <$type as Argument>::Raw),*) -> u64 {
                #[inline(always)]
                fn body($($argument: $type),*) -> $result $body

                // SAFETY: only the function around this one calls it, with its own arguments.
                match unsafe { ($(Argument::receive($argument),)*) } {
                    ($(Some($argument),)*) => Register::to_word(body($($argument),*)),
                    // Never: there for the verifier.
                    #[allow(unreachable_patterns, reason = "some functions have no arguments")]
                    _ => 0,
                }
            }
            Register::of_word($symbol($(Argument::pass($argument)),*))
        }
    )+ };
}

impl<T> Argument for &T {
    type Raw = *const T;

    #[inline(always)]
    fn pass(self) -> *const T {
        self
    }

    #[inline(always)]
    unsafe fn receive(raw: *const T) -> Option<Self> {
        // SAFETY: by the contract of this function.
        unsafe { raw.as_ref() }
    }
}

impl<T> Argument for &mut T {
    type Raw = *mut T;

    #[inline(always)]
    fn pass(self) -> *mut T {
        self
    }

    #[inline(always)]
    unsafe fn receive(raw: *mut T) -> Option<Self> {
        // SAFETY: by the contract of this function.
        unsafe { raw.as_mut() }
    }
}

impl Argument for Context {
    type Raw = *mut xdp_md;

    #[inline(always)]
    fn pass(self) -> *mut xdp_md {
        self.raw()
    }

    #[inline(always)]
    unsafe fn receive(raw: *mut xdp_md) -> Option<Self> {
        // SAFETY: by the contract of this function. The verifier knows that a context is not null.
        Some(unsafe { Self::new(raw) })
    }
}

impl Argument for Word {
    type Raw = *mut u64;

    #[inline(always)]
    fn pass(self) -> *mut u64 {
        self.at()
    }

    #[inline(always)]
    unsafe fn receive(raw: *mut u64) -> Option<Self> {
        // SAFETY: by the contract of this function. For the verifier it is any eight bytes of memory.
        (!raw.is_null()).then(|| unsafe { Self::new(raw) })
    }
}

/// Defines how values become words, and makes them arguments and results of global functions.
macro_rules! registers {
    ($($type:ty: |$value:ident| $to:expr, |$word:ident| $of:expr;)+) => { $(
        impl $crate::bpf::global::Register for $type {
            #[inline(always)]
            fn to_word(self) -> u64 {
                let $value = self;
                $to
            }

            #[inline(always)]
            fn of_word($word: u64) -> Self {
                $of
            }
        }

        impl $crate::bpf::global::Argument for $type {
            type Raw = u64;

            #[inline(always)]
            fn pass(self) -> u64 {
                $crate::bpf::global::Register::to_word(self)
            }

            #[inline(always)]
            unsafe fn receive(raw: u64) -> Option<Self> {
                Some($crate::bpf::global::Register::of_word(raw))
            }
        }
    )+ };
}
pub(crate) use {global, registers};

registers! {
    (): |_value| 0, |_word| ();
    bool: |value| u64::from(value), |word| word != 0;
    u8: |value| u64::from(value), |word| word as u8;
    u32: |value| u64::from(value), |word| word as u32;
    u64: |value| value, |word| word;
    Affinity: |value| value.0, |word| Affinity(word);
    Contents: |value| value.0, |word| Contents(word);
    Exit: |value| value.0, |word| Exit(word);
    Least: |value| value.0, |word| Least(word);
    RuleSet: |value| value.0, |word| RuleSet(word);
    Schedule: |value| value.0, |word| Schedule(word);
    Segment: |value| value.0, |word| Segment(word);
    Way: |value| value.0, |word| Way(word);
    Option<u32>: |value| value.map_or(NONE, u64::from), |word| (word != NONE).then_some(word as u32);
    Option<Least>: |value| value.map_or(NONE, |least| least.0), |word| (word != NONE).then_some(Least(word));
    Result<u32, Exit>: |value| pack(value.map(u64::from)), |word| unpack(word).map(|slot| slot as u32);
    Result<Contents, Exit>: |value| pack(value.map(|contents| contents.0)), |word| unpack(word).map(Contents);
}

/// No value.
const NONE: u64 = u64::MAX;
