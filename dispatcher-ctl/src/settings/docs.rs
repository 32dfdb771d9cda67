//! The tables of `docs/configuration.md`, made of the tables of settings.

use std::net::Ipv4Addr;

use super::{
    Advisor, Affinity, BackendConfig, Connections, Exits, GlobalSettings, Manager, Passive,
    Proportions, RuleConfig, ServiceSettings,
    row::{Row, Table},
};
use crate::model::{AdvisorKind, Choice as _, Protocol};

/// What begins a table in the page, before its name.
const BEGIN: &str = "<!-- settings of ";
/// What ends a table in the page.
const END: &str = "<!-- end -->\n";

/// The page with the tables as the settings are declared now: they are put between the marks of their names.
#[must_use]
pub fn page(page: &str) -> String {
    let mut parts = page.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").unwrap_or((part, ""));
        let (_, rest) = rest.split_once(END).unwrap_or_default();
        out += &format!("{BEGIN}{name} -->\n\n{}\n{END}{rest}", table(name));
    }
    out
}

/// The table of this name; empty where there is none.
fn table(name: &str) -> String {
    let vip = Ipv4Addr::UNSPECIFIED.into();
    match name {
        "global" => rows(&GlobalSettings::new(Vec::new())),
        "connections" => rows(&Connections::default()),
        "manager" => rows(&Manager::default()),
        "proportions" => rows(&Proportions::default()),
        "exits" => rows(&Exits::default()),
        "service" => rows(&ServiceSettings::new(String::new(), vip, 80, Protocol::Tcp)),
        "affinity" => rows(&Affinity::default()),
        "advisor" => rows(&Advisor::new(AdvisorKind::Http)),
        "passive" => rows(&Passive::default()),
        "rule" => rows(&RuleConfig::default()),
        "backend" => rows(&BackendConfig::new(String::new(), vip, 0)),
        _ => String::new(),
    }
}

fn rows<T: Table>(default: &T) -> String {
    let mut out = "| key | type | default | bounds | |\n|---|---|---|---|---|\n".to_owned();
    for (i, row) in T::ROWS.iter().enumerate() {
        let default = match row.spec.default {
            _ if i < T::PRESET || row.spec.required.is_some() => "required".to_owned(),
            Some(default) => default.to_owned(),
            None => (row.written)(default, &row.spec)
                .map_or_else(|| "none".to_owned(), |value| format!("`{value}`")),
        };
        let (key, kind, bounds) = (row.key, (row.kind)(), row.spec.bounds);
        out += &format!("| `{key}` | {kind} | {default} | {bounds} | {} |\n", description(row));
    }
    out
}

/// What a setting does, who has it, and where more is said of it.
fn description<T>(row: &Row<T>) -> String {
    let words: Vec<&str> = row.doc.iter().flat_map(|line| line.split_whitespace()).collect();
    let kinds: Vec<_> = row.spec.kinds.iter().map(|kind| format!("`{}`", kind.word())).collect();
    let mut text = words.join(" ");
    if !kinds.is_empty() {
        text += &format!(" Only for {}.", kinds.join(", "));
    }
    if !row.spec.more.is_empty() {
        text += &format!(" {}.", row.spec.more);
    }
    text
}
