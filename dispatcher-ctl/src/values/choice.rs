//! Settings that are one of a few words (`tcp`, `wrr`, `drop`). [`choice!`] declares such an enum: each variant with its
//! word, which then is the same in configuration, API, command line, metrics and schema.

use std::fmt;

/// A setting that is one of a few words.
pub trait Choice: fmt::Display + Copy + PartialEq + 'static {
    /// Every value, in the order in which they are offered.
    const ALL: &'static [Self];

    /// The word in configuration, API and metrics.
    fn word(self) -> &'static str;

    /// The value of a word, if it is one.
    #[must_use]
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }

    /// All words, as an expectation is phrased: `a`, `a or b`, `a, b or c`.
    #[must_use]
    fn words() -> String {
        let words: Vec<_> = Self::ALL.iter().map(|value| value.word()).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            Some((only, _)) => (*only).to_owned(),
            None => String::new(),
        }
    }
}

/// Declares an enum whose variants are written as words.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, clap::ValueEnum)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] #[value(name = $word)] $variant,)+
        }

        impl $crate::values::Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// As a text: serde's derived reader takes a number for broken JSON.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                <Self as $crate::values::Choice>::from_word(&word)
                    .ok_or_else(|| serde::de::Error::unknown_variant(&word, &[$($word),+]))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::values::schema::words(&[$($word),+])
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::values::Choice::word(*self))
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{ForwardMode, Orphan, Scheduler};

    #[test]
    fn a_word_is_the_same_in_api_and_command_line() {
        for value in Scheduler::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), value.word());
            assert_eq!(Scheduler::from_word(value.word()), Some(*value));
            let typed = <Scheduler as clap::ValueEnum>::from_str(value.word(), false);
            assert_eq!(typed, Ok(*value));
        }
    }

    #[test]
    fn words_are_listed_as_people_list_them() {
        assert_eq!(ForwardMode::words(), "mac");
        assert_eq!(Scheduler::words(), "rr, wrr, lc, wlc, rtt, xmitbyte, maglev or sh");
        assert_eq!(Orphan::words(), "drop, schedule, reset or pass");
    }
}
