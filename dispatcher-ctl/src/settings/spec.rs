//! The properties of a setting in addition to name, type and default.

use super::bounds::{Bounds, short};
use crate::values::AdvisorKind;

/// The properties of a setting in addition to name, type and default. Built from [`Spec::NEW`] by the functions below.
#[cfg_attr(not(test), expect(dead_code, reason = "the reference page is made by a test"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// What a message expects of a value.
    pub(crate) expected: &'static str,
    /// Which numbers or durations are valid; none: all.
    pub(crate) bounds: Option<Bounds>,
    /// The meaning of 0, for messages.
    pub(crate) zero: Option<&'static str>,
    /// What the command line expects if the setting has no option of its own.
    pub(crate) typed: &'static str,
    /// What a message expects if the key is missing; none: it may be missing.
    pub(crate) required: Option<&'static str>,
    /// Words that a later version will know.
    pub(crate) later: &'static [&'static str],
    /// What a plan adds: when a change takes effect.
    pub(crate) note: Option<&'static str>,
    /// The kinds of advisors that have it; empty: all.
    pub(crate) kinds: &'static [AdvisorKind],
    /// Whether it is a table of [`AdvisorKind::Agent`], which has neither kind nor target.
    pub(crate) is_agent: bool,
    /// Whether it is written even if it is the default.
    pub(crate) is_always_written: bool,
    /// Whether its key is removed when its value becomes the default.
    pub(crate) is_left_out: bool,
    /// Its default, for documentation; none: as it is written to the file.
    pub(crate) default: Option<&'static str>,
    /// The valid values, for documentation, if it has no [`Bounds`].
    pub(crate) may_be: &'static str,
    /// More text for documentation, such as a link.
    pub(crate) more: &'static str,
}

/// Functions that set a field of [`Spec`] to a value.
macro_rules! setters {
    ($($field:ident: $ty:ty;)+) => {$(
        #[doc = concat!("Sets `", stringify!($field), "`.")]
        pub(crate) const fn $field(self, $field: $ty) -> Self {
            Self { $field, ..self }
        }
    )+};
}

/// Functions that set a field of [`Spec`] to true.
macro_rules! flags {
    ($($name:ident $field:ident;)+) => {$(
        #[doc = concat!("Sets `", stringify!($field), "`.")]
        pub(crate) const fn $name(self) -> Self {
            Self { $field: true, ..self }
        }
    )+};
}

impl Spec {
    /// Any value of the type.
    pub(crate) const NEW: Self = Self {
        expected: "",
        bounds: None,
        zero: None,
        typed: "",
        required: None,
        later: &[],
        note: None,
        kinds: &[],
        is_agent: false,
        is_always_written: false,
        is_left_out: false,
        default: None,
        may_be: "",
        more: "",
    };

    /// Numbers from the first to the second are valid.
    pub(crate) const fn numbers(self, least: i64, greatest: i64) -> Self {
        self.within(Bounds::Numbers(least, greatest))
    }

    /// Values within these bounds are valid.
    pub(crate) const fn within(self, bounds: Bounds) -> Self {
        Self { bounds: Some(bounds), ..self }
    }

    /// What 0 means.
    pub(crate) const fn zero(self, meaning: &'static str) -> Self {
        Self { zero: Some(meaning), ..self }
    }

    /// It must be there; `expected` is what a message expects if it is missing.
    pub(crate) const fn required(self, expected: &'static str) -> Self {
        Self { required: Some(expected), ..self }
    }

    /// When a change takes effect, if not at once.
    pub(crate) const fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Its default, for documentation.
    pub(crate) const fn default_is(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    setters! {
        expected: &'static str;
        typed: &'static str;
        later: &'static [&'static str];
        kinds: &'static [AdvisorKind];
        may_be: &'static str;
        more: &'static str;
    }

    flags! { agent is_agent; always is_always_written; left_out is_left_out; }

    /// What a message expects of a value.
    pub(crate) fn expectation(&self) -> String {
        self.bounds
            .map_or_else(|| self.expected.to_owned(), |bounds| self.explained(bounds.text(short)))
    }

    /// The message for a number that is not valid. A duration is given in seconds.
    pub(crate) fn complaint(&self, number: f64) -> Option<String> {
        let (wrong, expected) = self.bounds?.complaint(number)?;
        Some(format!("{wrong}, expected {}", self.explained(expected)))
    }

    /// Bounds in words, with the meaning of 0.
    pub(crate) fn explained(&self, bounds: String) -> String {
        match self.zero {
            Some(zero) => format!("{bounds} (0: {zero})"),
            None => bounds,
        }
    }
}
