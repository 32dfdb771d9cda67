//! The tables of `docs/configuration.md`.

use dispatcher_golden::{cell, check_between};

use super::{
    Advisor, Affinity, BackendConfig, Connections, Exits, GlobalSettings, Manager, Passive,
    Proportions, RuleConfig, ServiceSettings,
    bounds::short,
    help::Typical as _,
    row::{Row, Table},
};
use crate::values::{AdvisorKind, Choice as _};

#[test]
fn reference_page_of_settings() {
    for (name, table) in [
        ("global", rows(&GlobalSettings::new(Vec::new()))),
        ("connections", rows(&Connections::default())),
        ("manager", rows(&Manager::default())),
        ("proportions", rows(&Proportions::default())),
        ("exits", rows(&Exits::default())),
        ("service", rows(&ServiceSettings::typical())),
        ("affinity", rows(&Affinity::default())),
        ("advisor", rows(&Advisor::new(AdvisorKind::Http))),
        ("passive", rows(&Passive::default())),
        ("backend", rows(&BackendConfig::typical())),
        ("rule", rows(&RuleConfig::default())),
    ] {
        let begin =
            format!("<!-- settings of {name}, made from the code by `cargo xtask docs` -->\n");
        check_between("docs/configuration.md", [&begin, "<!-- end -->\n"], &table);
    }
}

/// A table of the page.
fn rows<T: Table>(default: &T) -> String {
    let mut out = "\n| key | type | default | bounds | |\n|---|---|---|---|---|\n".to_owned();
    for (i, row) in T::ROWS.iter().enumerate() {
        let default = match i < T::PRESET || row.spec.required.is_some() {
            true => "required".to_owned(),
            false => row.default(default),
        };
        let bounds = row.valid(|time| format!("`\"{}\"`", short(time)));
        let (key, kind) = (row.key, (row.kind)());
        out += &format!("| `{key}` | {kind} | {default} | {bounds} | {} |\n", description(row));
    }
    out + "\n"
}

/// What a setting does, which kinds have it, and a link to more text.
fn description<T>(row: &Row<T>) -> String {
    let kinds: Vec<_> = row.spec.kinds.iter().map(|kind| format!("`{}`", kind.word())).collect();
    let mut text = cell(&row.doc.join(" "));
    if !kinds.is_empty() {
        text += &format!(" Only for {}.", kinds.join(", "));
    }
    if !row.spec.more.is_empty() {
        text += &format!(" {}.", row.spec.more);
    }
    text
}
