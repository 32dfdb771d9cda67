//! Proportions: how much each input of the manager counts.

use std::{fmt, str::FromStr};

use clap::builder::ValueParser;
use serde::Deserializer;
use toml_edit::Value as Toml;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{
    row::{Row, Table as _, inline, read_over_default},
    schema::{Fields, named},
    section::Section,
    settings,
    spec::Spec,
    stated::{Nullable, Said, as_is, typed},
    value::{OrNone, Value},
};
use crate::values::Object;

settings! {
    /// How much each of the four inputs counts: percent, together 100.
    #[derive(Copy, Eq)]
    #[serde(deny_unknown_fields)]
    Proportions at "in proportions", also [], later [];
    given {}
    required {}
    file {
        /// Active connections, relative to the weight.
        active: u32 = 50 => PERCENT;
        /// New connections, relative to the weight.
        new: u32 = 50 => PERCENT;
        /// The load that advisors report.
        advisor: u32 = 0 => PERCENT;
        /// The load that metric agents report.
        system: u32 = 0 => PERCENT;
    }
}

const PERCENT: Spec =
    Spec::NEW.numbers(0, 100).required("0..=100: a share of 100 for each of the four inputs");

impl Proportions {
    /// What the command line expects.
    pub const EXPECTED: &'static str =
        "expected active,new,advisor,system, together 100, such as 50,50,0,0";

    /// In the order in which reports have them: active, new, advisor, system.
    #[must_use]
    pub const fn all(self) -> [u32; 4] {
        [self.active, self.new, self.advisor, self.system]
    }

    /// From that order.
    #[must_use]
    pub const fn of([active, new, advisor, system]: [u32; 4]) -> Self {
        Self { active, new, advisor, system }
    }
}

impl Default for Proportions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Proportions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, new, advisor, system } = self;
        write!(f, "active {active}, new {new}, advisor {advisor}, system {system}")
    }
}

impl FromStr for Proportions {
    type Err = &'static str;

    /// As they are typed: `50,50,0,0`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> =
            text.split(',').map(|part| part.trim().parse()).collect();
        let all = numbers.ok().and_then(|numbers| <[u32; 4]>::try_from(numbers).ok());
        all.map(Self::of).ok_or(Self::EXPECTED)
    }
}

impl Value for Proportions {
    fn kind() -> String {
        "table".to_owned()
    }

    fn read(s: &mut Section<'_, '_>, key: &'static str, _spec: &Spec) -> Option<Self> {
        read_over_default(s, key)
    }

    fn written(&self, _spec: &Spec) -> Option<Toml> {
        Some(inline(self, Self::ROWS).into())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

as_is! { named::<Proportions>: Proportions; }

impl PartialSchema for Proportions {
    fn schema() -> RefOr<Schema> {
        let add = |fields: Fields<Self>, row: &Row<Self>| {
            fields.optional(row.key, row.doc, u32::schema())
        };
        Self::ROWS
            .iter()
            .fold(Fields::new(), add)
            .described(&["How much each of the four inputs counts: percent, together 100."])
    }
}

impl ToSchema for Proportions {}

impl Said for Proportions {
    const NAMES: &'static [&'static str] = &["A,N,A,S"];

    fn parser() -> ValueParser {
        typed::<Self>()
    }

    fn from_json<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        Object::or_null(d)
    }
}

impl OrNone for Proportions {
    const NONE: &'static str = "the manager's";
}

impl Nullable for Proportions {
    const NONE: &'static str = "manager";

    fn or_null<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        Object::or_null(d)
    }
}
