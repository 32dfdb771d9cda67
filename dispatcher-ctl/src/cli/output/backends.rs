//! `backends`: one row per backend.

use serde::Serialize;

use super::{
    Column, Paint, Style, Table, shortened,
    table::{number, plain, text},
    units::{bytes, millis, si, span, whole},
};
use crate::api::types::{Backend, ResponseSeconds, Service};

const COLUMNS: &[Column] = &[
    text("SERVICE"),
    text("BACKEND"),
    text("ADDRESS"),
    text("MAC"),
    text("INTERFACE"),
    number("WEIGHT"),
    text("STATE"),
    text("SINCE"),
    number("ACTIVE"),
    number("HALF-OPEN"),
    number("CONNECTIONS"),
    number("PACKETS"),
    number("BYTES"),
    number("DELIVERED"),
    number("RESPONSE"),
];

/// A backend and its service.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row<'a> {
    /// Name of the service.
    pub service: &'a str,
    /// The backend.
    #[serde(flatten)]
    pub backend: &'a Backend,
}

/// All backends of services.
#[must_use]
pub fn rows(services: &[Service]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for service in services {
        rows.extend(service.backends.iter().map(|backend| Row { service: &service.name, backend }));
    }
    rows
}

/// The table.
#[must_use]
pub fn table(rows: &[Row<'_>], style: &Style) -> String {
    let mut table = Table::new(COLUMNS, style);
    for Row { service, backend } in rows {
        table.row([
            plain(service),
            (backend.name.clone(), Paint::Bold),
            plain(backend.address),
            plain(backend.mac.map_or("-".to_owned(), |mac| mac.to_string())),
            plain(backend.interface.as_deref().unwrap_or("-")),
            plain(backend.weight),
            state(backend, style.now),
            plain(span(style.now - backend.since)),
            plain(whole(backend.active_connections)),
            plain(whole(backend.half_open_connections)),
            plain(whole(backend.connections)),
            plain(si(backend.packets as f64)),
            plain(bytes(backend.bytes as f64)),
            plain(backend.delivered_bytes.map_or("-".to_owned(), |b| bytes(b as f64))),
            plain(response(backend)),
        ]);
    }
    table.render()
}

/// Mean of all response times.
fn response(backend: &Backend) -> String {
    let mean = backend.response_seconds.as_ref().and_then(ResponseSeconds::mean);
    mean.map_or("-".to_owned(), millis)
}

/// One backend in one line, for verbs that change it. `service` as it was typed.
#[must_use]
pub fn line(service: &str, backend: &Backend) -> String {
    let weight = match is_weightless(backend) {
        true => String::new(),
        false => format!(", weight {}", backend.weight),
    };
    super::line(format!(
        "backend {service}/{}: {}{weight}, {} active",
        backend.name,
        state(backend, Style::of_stdout().now).0,
        whole(backend.active_connections)
    ))
}

/// Its state, in colour; `now` in seconds since the epoch.
pub(super) fn state(backend: &Backend, now: f64) -> (String, Paint) {
    let paint = match backend {
        Backend { up: false, down_by_hand: true, .. }
        | Backend { up: true, quiesced: true, .. } => Paint::Odd,
        Backend { up: false, .. } => Paint::Bad,
        Backend { weight: 0, .. } => Paint::Odd,
        Backend { .. } => Paint::Good,
    };
    let is_said = backend.state.contains("quiesced") || is_weightless(backend);
    let mut state = if backend.up && backend.quiesced && !is_said {
        format!("{}, quiesced", shortened(&backend.state))
    } else {
        shortened(&backend.state)
    };
    if let Some(deadline) = backend.quiesce_deadline {
        state += &format!(", down in {}", span(deadline - now));
    }
    (state, paint)
}

/// Whether its state says that its weight is 0.
fn is_weightless(backend: &Backend) -> bool {
    backend.weight == 0 && backend.state.contains("weight 0")
}
