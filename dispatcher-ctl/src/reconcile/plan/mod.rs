//! The lines of a plan: what would change, for an operator to read.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::change::Change as StateChange;
use crate::{
    api::types::{Action, Change},
    model::{Backend, BackendConfig, GlobalSettings, Rule, RuleConfig, Service},
    settings::row::{Row, changes},
};

/// One change. Shown as `~ service web: scheduler wrr → rr`, `+ backend web/web-4 10.0.0.14 weight 10`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// The action.
    pub action: Action,
    /// Its object: `service web`, `backend web/web-1`, `interface eth0`, `connections`.
    pub object: String,
    /// The setting that changes, if the object stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The former value, or what is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new value, or what is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it takes effect, if not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The difference between two states: NICs, then services with their backends in the order of the new state, then removed
/// services. A service with the same id and a backend with the same slot are the same, whatever their names.
#[must_use]
pub fn plan(change: &StateChange) -> Vec<PlanLine> {
    let (running, wanted) = (change.former(), change.state());
    let mut lines = Vec::new();
    for (action, these, others) in [
        (Action::Add, &wanted.interfaces, &running.interfaces),
        (Action::Remove, &running.interfaces, &wanted.interfaces),
    ] {
        for name in these.iter().filter(|name| !others.contains(name)) {
            lines.push(PlanLine::whole(action, format!("interface {name}"), String::new()));
        }
    }
    let manager = changes(&running.manager, &wanted.manager);
    lines.extend(manager.map(|change| PlanLine::setting("manager", change)));
    for pair in change.pairs() {
        match pair {
            (Some(before), Some(service)) => changed_service(before, service, &mut lines),
            (None, Some(service)) => whole_service(Action::Add, service, &mut lines),
            (Some(service), None) => whole_service(Action::Remove, service, &mut lines),
            (None, None) => {}
        }
    }
    lines
}

/// The difference between two files except for NICs and services; a line says if it needs a restart.
#[must_use]
pub fn plan_settings(applied: &GlobalSettings, new: &GlobalSettings) -> Vec<PlanLine> {
    let mut lines = Vec::new();
    let no_table = |row: &str| !["interfaces", "connections", "manager", "exits"].contains(&row);
    let settings = changes(applied, new).filter(|change| no_table(change.0.key));
    lines.extend(settings.map(|change| PlanLine::setting("settings", change)));
    let connections = changes(&applied.connections, &new.connections);
    lines.extend(connections.map(|change| PlanLine::setting("connections", change)));
    lines.extend(
        changes(&applied.exits, &new.exits).map(|change| PlanLine::setting("exits", change)),
    );
    lines
}

impl PlanLine {
    fn whole(action: Action, object: String, what: String) -> Self {
        let what = if what.is_empty() { None } else { Some(what) };
        let (from, to) = if action == Action::Remove { (what, None) } else { (None, what) };
        Self { action, object, field: None, from, to, note: None }
    }

    fn setting<T>(object: &str, (row, from, to): (&Row<T>, String, String)) -> Self {
        let note = row.spec.note.map(str::to_owned);
        Self { note, ..Self::change(object.to_owned(), row.key, from, to) }
    }

    fn change(object: String, field: &str, from: String, to: String) -> Self {
        let (field, from, to) = (Some(field.to_owned()), Some(from), Some(to));
        Self { action: Action::Change, object, field, from, to, note: None }
    }

    /// The line without action and object.
    #[must_use]
    pub fn detail(&self) -> String {
        let parts = match (&self.field, &self.from, &self.to) {
            (Some(field), Some(from), Some(to)) => format!("{field} {from} → {to}"),
            (_, from, to) => from.as_ref().or(to.as_ref()).cloned().unwrap_or_default(),
        };
        match &self.note {
            Some(note) => format!("{parts} ({note})"),
            None => parts,
        }
    }
}

impl fmt::Display for PlanLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, colon) = match self.action {
            Action::Add => ('+', ""),
            Action::Change => ('~', ":"),
            Action::Remove => ('-', ""),
        };
        write!(f, "{sign} {}", self.object)?;
        match self.detail().as_str() {
            "" => Ok(()),
            detail => write!(f, "{colon} {detail}"),
        }
    }
}

impl From<PlanLine> for Change {
    fn from(line: PlanLine) -> Self {
        let detail = line.detail();
        Self { action: line.action, object: line.object, detail }
    }
}

fn whole_service(action: Action, service: &Service, lines: &mut Vec<PlanLine>) {
    let config = &service.config;
    let what = format!("{} {}", config.endpoint(), config.scheduler);
    lines.push(PlanLine::whole(action, format!("service {}", config.name), what));
    for backend in &service.backends {
        whole_backend(action, &config.name, backend, lines);
    }
    for rule in &service.rules {
        whole_rule(action, &config.name, rule, lines);
    }
}

fn whole_rule(action: Action, service: &str, rule: &Rule, lines: &mut Vec<PlanLine>) {
    let said = rule.config.settings();
    let others =
        said.iter().filter(|(key, _)| !["name", "priority", "backends"].contains(&key.as_str()));
    let conditions: String = others.map(|(key, value)| format!(" {key} {value}")).collect();
    let RuleConfig { name, priority, backends, .. } = &rule.config;
    let what = format!("priority {priority}{conditions} to {}", backends.join(", "));
    lines.push(PlanLine::whole(action, format!("rule {service}/{name}"), what));
}

fn changed_rule(service: &str, before: &RuleConfig, after: &RuleConfig, lines: &mut Vec<PlanLine>) {
    let (was, is) = (before.settings(), after.settings());
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for key in keys {
        if was.get(key) != is.get(key) {
            let text = |value: Option<&serde_json::Value>| {
                value.map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            let object = format!("rule {service}/{}", after.name);
            lines.push(PlanLine::change(object, key, text(was.get(key)), text(is.get(key))));
        }
    }
}

/// The settings of a backend that come first: in the line of a whole backend, and among the lines of a changed one.
const FIRST_OF_WHOLE: [&str; 6] =
    ["fixed_weight", "mac", "local", "sticky", "sorry", "max_connections"];
const FIRST_OF_CHANGED: [&str; 4] = ["name", "weight", "fixed_weight", "sorry"];

/// The settings of a backend that change, some of them first.
fn backend_changes(
    before: &BackendConfig,
    after: &BackendConfig,
    first: &[&str],
) -> Vec<(&'static Row<BackendConfig>, String, String)> {
    let mut changes: Vec<_> = changes(before, after).collect();
    let place = |key: &str| first.iter().position(|first| *first == key);
    changes.sort_by_key(|(row, ..)| place(row.key).unwrap_or(first.len()));
    changes
}

fn whole_backend(action: Action, service: &str, backend: &Backend, lines: &mut Vec<PlanLine>) {
    let config = &backend.config;
    let bare = BackendConfig::new(config.name.clone(), config.address, config.weight);
    let mut what = format!("{} weight {}", config.address, config.weight);
    let others = backend_changes(&bare, config, &FIRST_OF_WHOLE).into_iter();
    for (row, _, value) in others.filter(|(row, ..)| row.key != "weight") {
        what += &match (row.key, &*value) {
            ("fixed_weight", _) => " fixed".to_owned(),
            ("sticky", "false") => " not sticky".to_owned(),
            (key, "true") => format!(" {key}"),
            (key, value) => format!(" {key} {value}"),
        };
    }
    lines.push(PlanLine::whole(action, format!("backend {service}/{}", config.name), what));
}

fn changed_service(before: &Service, after: &Service, lines: &mut Vec<PlanLine>) {
    let name = &after.config.name;
    let object = format!("service {name}");
    let settings = changes(&before.config, &after.config);
    lines.extend(settings.map(|change| PlanLine::setting(&object, change)));
    for backend in &after.backends {
        match before.backends.iter().find(|b| b.slot == backend.slot) {
            Some(before) if before == backend => {}
            Some(before) => changed_backend(name, before, backend, lines),
            None => whole_backend(Action::Add, name, backend, lines),
        }
    }
    for rule in &after.rules {
        match before.rules.iter().find(|r| r.id == rule.id) {
            Some(before) => changed_rule(name, &before.config, &rule.config, lines),
            None => whole_rule(Action::Add, name, rule, lines),
        }
    }
    for rule in &before.rules {
        if !after.rules.iter().any(|r| r.id == rule.id) {
            whole_rule(Action::Remove, name, rule, lines);
        }
    }
    for backend in &before.backends {
        if !after.backends.iter().any(|b| b.slot == backend.slot) {
            whole_backend(Action::Remove, name, backend, lines);
        }
    }
}

fn changed_backend(service: &str, before: &Backend, after: &Backend, lines: &mut Vec<PlanLine>) {
    let object = format!("backend {service}/{}", after.config.name);
    let settings = backend_changes(&before.config, &after.config, &FIRST_OF_CHANGED);
    lines.extend(settings.into_iter().map(|change| PlanLine::setting(&object, change)));
    let quiesced =
        |b: &Backend| if b.quiesced_now { "now".to_owned() } else { b.quiesced.to_string() };
    for (field, from, to) in [
        ("quiesced", quiesced(before), quiesced(after)),
        ("down", before.down.to_string(), after.down.to_string()),
    ] {
        if from != to {
            lines.push(PlanLine::change(object.clone(), field, from, to));
        }
    }
}

#[cfg(test)]
mod tests;
