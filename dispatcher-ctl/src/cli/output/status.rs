//! `status`: everything on one screen.

use std::collections::BTreeMap;

use super::{
    Column, Paint, Style, Table, backends, health, line, services,
    table::{number, plain, text},
    units::{bytes, percent, si, span, whole},
};
use crate::{
    api::types::{Interface, Label, Service, Status},
    model::{Choice as _, RuleConfig},
};

/// Rows that still fit on one screen; if there are more, backends are left out, then services.
const ROWS: usize = 60;
/// Rules that are shown; if there are more, none is.
const RULES: usize = 12;
/// Errors that are shown.
const ERRORS: usize = 5;

const INTERFACES: &[Column] = &[
    text("INTERFACE"),
    text("MODE"),
    text("STATE"),
    text("SINCE"),
    number("FORWARDED"),
    number("PASSED"),
    number("DROPPED"),
    number("BYTES"),
];

const SERVICES: &[Column] = &[
    text("SERVICE"),
    text("ADDRESS"),
    text("WEIGHT"),
    text("STATE"),
    text("SINCE"),
    number("ACTIVE"),
    number("TOTAL"),
    number("NEW/S"),
    number("PACKETS/S"),
    number("BYTES/S"),
];

/// The screen.
#[must_use]
pub fn screen(status: &Status, style: &Style) -> String {
    let parts = [
        head(status),
        interfaces(status, style),
        table(status, style),
        summary(status) + &health::warnings(status),
        errors(status),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn head(status: &Status) -> String {
    let config = &status.config;
    let load = if config.reload_success { "loaded" } else { "load failed" };
    let ago = span(now(status) - config.last_reload);
    let mut text = line(format!(
        "dispatcher {}, pid {}, up {}, {} ({load} {ago} ago)",
        status.version,
        status.pid,
        span(status.uptime_seconds),
        config.file,
    ));
    if let Some(note) = &config.note {
        text += &line(format!("note: {note}"));
    }
    text
}

/// The daemon's current time.
fn now(status: &Status) -> f64 {
    status.started + status.uptime_seconds
}

fn interfaces(status: &Status, style: &Style) -> String {
    let mut table = Table::new(INTERFACES, style);
    for interface in &status.interfaces {
        let (state, paint) = match (interface.attached, &interface.note) {
            (true, None) => ("attached".to_owned(), Paint::Good),
            (true, Some(note)) => (format!("attached: {note}"), Paint::Odd),
            (false, None) => ("not attached".to_owned(), Paint::Bad),
            (false, Some(note)) => (format!("not attached: {note}"), Paint::Bad),
        };
        let packets = |verdicts: &[&str]| plain(si(packets(interface, verdicts) as f64));
        table.row([
            (interface.name.clone(), Paint::Bold),
            plain(interface.mode.word()),
            (state, paint),
            plain(span(now(status) - interface.since)),
            packets(&["tx", "redirect"]),
            packets(&["pass"]),
            packets(&["drop"]),
            plain(bytes(interface.bytes as f64)),
        ]);
    }
    table.render()
}

fn packets(interface: &Interface, verdicts: &[&str]) -> u64 {
    let of = interface.reasons.iter().filter(|r| verdicts.contains(&r.verdict.as_ref()));
    of.map(|r| r.packets).sum()
}

fn table(status: &Status, style: &Style) -> String {
    if status.services.is_empty() {
        return "no services\n".to_owned();
    }
    let backends: usize = status.services.iter().map(|service| service.backends.len()).sum();
    let with_backends = status.services.len() + backends <= ROWS;
    let mut table = Table::new(SERVICES, style);
    for service in status.services.iter().take(ROWS) {
        service_row(&mut table, service);
        if with_backends {
            backend_rows(&mut table, service, now(status));
        }
    }
    let mut text = table.render();
    if status.services.len() > ROWS {
        text += &format!("{} more: dispatcher services\n", status.services.len() - ROWS);
    }
    if !with_backends {
        text += &format!("{backends} backends: dispatcher backends [SERVICE]\n");
    }
    text
}

fn service_row(table: &mut Table, service: &Service) {
    let (up, paint) = services::up(service);
    table.row([
        (service.name.clone(), Paint::Bold),
        plain(services::address(service)),
        plain(service.scheduler.word()),
        (format!("{up} up"), paint),
        plain(""),
        plain(whole(service.active_connections)),
        plain(whole(service.connections)),
        plain(si(service.rates.connections)),
        plain(si(service.rates.packets)),
        plain(bytes(service.rates.bytes)),
    ]);
}

fn backend_rows(table: &mut Table, service: &Service, now: f64) {
    for backend in &service.backends {
        table.row([
            plain(format!("  {}", backend.name)),
            plain(backend.address),
            plain(backend.weight),
            backends::state(backend, now),
            plain(span(now - backend.since)),
            plain(whole(backend.active_connections)),
            plain(whole(backend.connections)),
            plain(si(backend.rates.connections)),
            plain(si(backend.rates.packets)),
            plain(bytes(backend.rates.bytes)),
        ]);
    }
}

fn summary(status: &Status) -> String {
    let table = &status.connections;
    let mut text = line(format!(
        "connections: {} of {} ({}), {} half-open, {} in overflow",
        whole(table.connections),
        whole(table.connections_capacity),
        percent(table.fill),
        whole(table.half_open_connections),
        whole(table.overflow_connections),
    ));
    if let Some(since) = table.syn_guard_since {
        text += &line(format!(
            "warning: {} half-open connections, more than syn_guard {}, for {}: SYNs are placed by hash, without an entry",
            whole(table.half_open_connections),
            whole(table.syn_guard),
            span(now(status) - since),
        ));
    }
    text.extend(status.warnings.iter().map(|warning| line(format!("warning: {warning}"))));
    let expired = listed(&table.connections_expired);
    if !expired.is_empty() {
        text += &line(format!("expired: {expired}"));
    }
    let all = status.services.iter().map(|service| service.rules.len()).sum();
    match all {
        0..=RULES => text.extend(status.services.iter().map(rules)),
        all => text += &line(format!("{all} rules: dispatcher services -o json")),
    }
    for service in &status.services {
        let drops = listed(&service.drops);
        if !drops.is_empty() {
            text += &line(format!("dropped for {}: {drops}", service.name));
        }
    }
    text
}

/// A service's rules, in the order in which they are checked.
fn rules(service: &Service) -> String {
    let mut rules: Vec<_> = service.rules.iter().collect();
    rules.sort_by_key(|rule| rule.config.priority);
    let shown = rules.iter().map(|rule| {
        let RuleConfig { name, priority, backends, .. } = &rule.config;
        let state = if rule.active { "on" } else { "off" };
        let (service, count) = (&service.name, whole(rule.connections));
        let backends = backends.join(", ");
        line(format!(
            "rule {service}/{name}: priority {priority}, {state}, {count} connections to {backends}"
        ))
    });
    shown.collect()
}

fn listed(counts: &BTreeMap<Label, u64>) -> String {
    let counts = counts.iter().filter(|(_, n)| **n > 0);
    counts.map(|(what, n)| format!("{what} {}", whole(*n))).collect::<Vec<_>>().join(", ")
}

fn errors(status: &Status) -> String {
    let skip = status.last_errors.len().saturating_sub(ERRORS);
    let mut text = String::new();
    for error in &status.last_errors[skip..] {
        text += &line(format!("{} ago: {}", span(now(status) - error.time), error.message));
    }
    if text.is_empty() { text } else { format!("last errors:\n{text}") }
}
