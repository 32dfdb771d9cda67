//! What would change, line by line, as an operator reads it.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::change::Change as StateChange;
use crate::{
    api::types::{Action, Change},
    model::{
        Backend, BackendConfig, Config, Exits, Manager, Rule, RuleConfig, Service, ServiceSettings,
        duration, report_timeout,
    },
};

/// One change. Shown as `~ service web: scheduler wrr → rr`, `+ backend web/web-4 10.0.0.14 weight 10`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// What is done.
    pub action: Action,
    /// To what: `service web`, `backend web/web-1`, `interface eth0`, `connections`.
    pub object: String,
    /// Which of its settings changes, if it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it is, or what is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it becomes, or what is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What a reload cannot do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The difference between two states: NICs, then services with their backends in the order of the new state, then the services
/// that go. A service that has kept its id and a backend that has kept its slot are the same, whatever their names.
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
    changes("manager", manager(&running.manager), manager(&wanted.manager), &mut lines);
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

/// The difference between two files beside NICs and services; what waits for a restart says so.
#[must_use]
pub fn plan_settings(applied: &Config, new: &Config) -> Vec<PlanLine> {
    const FRESH: Option<&str> = Some("takes effect at the next fresh start: detach --all, run");
    const RESTART: Option<&str> = Some("takes effect when the daemon is restarted");
    const ATTACH: Option<&str> = Some("takes effect when a NIC is next attached");
    let (was, is) = (&applied.connections, &new.connections);
    let at = |path: &std::path::Path| path.display().to_string();
    let mut lines = Vec::new();
    for (object, field, from, to, note) in [
        ("settings", "xdp_mode", applied.xdp_mode.to_string(), new.xdp_mode.to_string(), ATTACH),
        ("settings", "api_socket", at(&applied.api_socket), at(&new.api_socket), RESTART),
        (
            "settings",
            "metrics_listen",
            applied.metrics_listen.to_string(),
            new.metrics_listen.to_string(),
            RESTART,
        ),
        ("settings", "pin_dir", at(&applied.pin_dir), at(&new.pin_dir), FRESH),
        (
            "settings",
            "manage_vips",
            applied.manage_vips.to_string(),
            new.manage_vips.to_string(),
            None,
        ),
        (
            "settings",
            "manage_arp",
            applied.manage_arp.to_string(),
            new.manage_arp.to_string(),
            None,
        ),
        ("connections", "capacity", was.capacity.to_string(), is.capacity.to_string(), FRESH),
        ("connections", "syn_guard", was.syn_guard.to_string(), is.syn_guard.to_string(), None),
        ("connections", "orphan", was.orphan.to_string(), is.orphan.to_string(), None),
    ] {
        if from != to {
            let note = note.map(str::to_owned);
            lines.push(PlanLine { note, ..PlanLine::change(object.to_owned(), field, from, to) });
        }
    }
    lines.extend(plan_exits(&applied.exits, &new.exits));
    lines
}

fn plan_exits(was: &Exits, is: &Exits) -> Vec<PlanLine> {
    let command = |event| (event, was.line(event), is.line(event));
    let mut fields: Vec<_> = Exits::EVENTS.into_iter().map(command).collect();
    fields.push(("timeout", duration::text(was.timeout), duration::text(is.timeout)));
    fields.push(("queue", was.queue.to_string(), is.queue.to_string()));
    let changed = fields.into_iter().filter(|(_, from, to)| from != to);
    changed.map(|(key, from, to)| PlanLine::change("exits".to_owned(), key, from, to)).collect()
}

impl PlanLine {
    fn whole(action: Action, object: String, what: String) -> Self {
        let what = if what.is_empty() { None } else { Some(what) };
        let (from, to) = if action == Action::Remove { (what, None) } else { (None, what) };
        Self { action, object, field: None, from, to, note: None }
    }

    fn change(object: String, field: &str, from: String, to: String) -> Self {
        let (field, from, to) = (Some(field.to_owned()), Some(from), Some(to));
        Self { action: Action::Change, object, field, from, to, note: None }
    }

    /// What is said beyond action and object.
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

fn whole_backend(action: Action, service: &str, backend: &Backend, lines: &mut Vec<PlanLine>) {
    let BackendConfig {
        name,
        address,
        mac,
        weight,
        fixed_weight,
        sorry,
        local,
        sticky,
        max_connections,
    } = &backend.config;
    let mac = mac.map(|mac| format!(" mac {mac}")).unwrap_or_default();
    let local = if *local { " local" } else { "" };
    let sticky = if *sticky { "" } else { " not sticky" };
    let most = match max_connections {
        0 => String::new(),
        most => format!(" max_connections {most}"),
    };
    let fixed = if *fixed_weight { " fixed" } else { "" };
    let sorry = if *sorry { " sorry" } else { "" };
    let what = format!("{address} weight {weight}{fixed}{mac}{local}{sticky}{sorry}{most}");
    lines.push(PlanLine::whole(action, format!("backend {service}/{name}"), what));
}

fn changed_service(before: &Service, after: &Service, lines: &mut Vec<PlanLine>) {
    let name = &after.config.name;
    changes(&format!("service {name}"), settings(&before.config), settings(&after.config), lines);
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

/// A line for each setting that differs.
fn changes<const N: usize>(
    object: &str,
    before: [(&'static str, String); N],
    after: [(&'static str, String); N],
    lines: &mut Vec<PlanLine>,
) {
    for ((field, from), (_, to)) in before.into_iter().zip(after) {
        if from != to {
            lines.push(PlanLine::change(object.to_owned(), field, from, to));
        }
    }
}

/// The manager's settings, as text.
fn manager(manager: &Manager) -> [(&'static str, String); 7] {
    [
        ("enabled", manager.enabled.to_string()),
        ("interval", duration::text(manager.interval)),
        ("refresh", manager.refresh.to_string()),
        ("sensitivity", manager.sensitivity.to_string()),
        ("smoothing", manager.smoothing.to_string()),
        ("report_timeout", report_timeout::text(manager.report_timeout)),
        ("proportions", manager.proportions.to_string()),
    ]
}

/// What may change of a service that stays, as text.
fn settings(config: &ServiceSettings) -> [(&'static str, String); 15] {
    [
        ("name", config.name.clone()),
        ("scheduler", config.scheduler.to_string()),
        ("forward", config.forward.to_string()),
        ("stale_timeout", duration::text(config.stale_timeout)),
        ("syn_timeout", duration::text(config.syn_timeout)),
        ("fin_timeout", duration::text(config.fin_timeout)),
        ("fin_count", config.fin_count.to_string()),
        ("on_down", config.on_down.to_string()),
        ("measure", config.measure.to_string()),
        ("weight_bound", config.weight_bound.to_string()),
        ("proportions", config.proportions.map_or("the manager's".to_owned(), |p| p.to_string())),
        ("slow_start", duration::text(config.slow_start)),
        ("affinity", config.affinity.to_string()),
        ("advisor", config.advisor.as_ref().map_or("none".to_owned(), ToString::to_string)),
        ("agent", config.agent.as_ref().map_or("none".to_owned(), ToString::to_string)),
    ]
}

fn changed_backend(service: &str, before: &Backend, after: &Backend, lines: &mut Vec<PlanLine>) {
    let parts = |b: &Backend| {
        let mac = b.config.mac.map_or_else(|| "auto".to_owned(), |mac| mac.to_string());
        [
            ("name", b.config.name.clone()),
            ("weight", b.config.weight.to_string()),
            ("fixed_weight", b.config.fixed_weight.to_string()),
            ("sorry", b.config.sorry.to_string()),
            ("mac", mac),
            ("local", b.config.local.to_string()),
            ("max_connections", b.config.max_connections.to_string()),
            ("sticky", b.config.sticky.to_string()),
            ("quiesced", if b.quiesced_now { "now".to_owned() } else { b.quiesced.to_string() }),
            ("down", b.down.to_string()),
        ]
    };
    let object = format!("backend {service}/{}", after.config.name);
    changes(&object, parts(before), parts(after), lines);
}

#[cfg(test)]
mod tests;
