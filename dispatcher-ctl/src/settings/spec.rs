//! What the table of an object says of a setting besides name, type and default.

use crate::values::AdvisorKind;

/// What a table says of a setting besides name, type and default. Made of [`Spec::NEW`] by the functions below.
#[cfg_attr(not(test), expect(dead_code, reason = "the reference page is made by a test"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// What a message expects of a value.
    pub(crate) expected: &'static str,
    /// Least and greatest whole number that is read.
    pub(crate) range: (i64, i64),
    /// What the command line expects, where it has no option of its own.
    pub(crate) typed: &'static str,
    /// What a message expects where the key is missing; none: it may be.
    pub(crate) required: Option<&'static str>,
    /// Words that a later version will know.
    pub(crate) later: &'static [&'static str],
    /// What a plan adds: when a change takes effect.
    pub(crate) note: Option<&'static str>,
    /// The kinds of advisors that have it; empty: all.
    pub(crate) kinds: &'static [AdvisorKind],
    /// Whether it is a table of [`AdvisorKind::Agent`], which says neither kind nor target.
    pub(crate) is_agent: bool,
    /// Whether it is written though it is the default.
    pub(crate) is_always_written: bool,
    /// Whether its key is removed where it becomes the default.
    pub(crate) is_left_out: bool,
    /// Its default, as documentation has it; none: as it is written.
    pub(crate) default: Option<&'static str>,
    /// What it may be, for documentation.
    pub(crate) bounds: &'static str,
    /// What documentation says besides, such as a link.
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
        range: (0, i64::MAX),
        typed: "",
        required: None,
        later: &[],
        note: None,
        kinds: &[],
        is_agent: false,
        is_always_written: false,
        is_left_out: false,
        default: None,
        bounds: "",
        more: "",
    };

    /// Whole numbers of this range, as messages say it. It may be wider than what is valid: that is checked later.
    pub(crate) const fn whole(self, least: i64, greatest: i64, expected: &'static str) -> Self {
        Self { range: (least, greatest), expected, bounds: expected, ..self }
    }

    /// It must be there; `expected` is what a message says otherwise.
    pub(crate) const fn required(self, expected: &'static str) -> Self {
        Self { required: Some(expected), ..self }
    }

    /// A change does not take effect at once.
    pub(crate) const fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Its default, as documentation says it.
    pub(crate) const fn default_is(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    setters! {
        expected: &'static str;
        typed: &'static str;
        later: &'static [&'static str];
        kinds: &'static [AdvisorKind];
        bounds: &'static str;
        more: &'static str;
    }

    flags! { agent is_agent; always is_always_written; left_out is_left_out; }
}
