//! `manager report`: one row per backend, with the parts of its weight.

use super::{
    Column, Paint, Style, Table,
    table::{number, plain, text},
    units::millis,
};
use crate::{
    api::types::{ManagerReport, ManagerSettings},
    model::{duration, report_timeout},
};

/// Network Dispatcher's columns: each load with its component, and the weight.
const COLUMNS: &[Column] = &[
    text("SERVICE"),
    text("BACKEND"),
    text("STATE"),
    number("ACTIVE"),
    number("WEIGHT"),
    number("NEW"),
    number("WEIGHT"),
    number("ADVISOR"),
    number("WEIGHT"),
    number("SYSTEM"),
    number("WEIGHT"),
    number("TARGET"),
    number("FINAL"),
    text("FIXED"),
];

/// Settings, and the table.
#[must_use]
pub fn table(report: &ManagerReport, style: &Style) -> String {
    let mut table = Table::new(COLUMNS, style);
    let known = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    for service in &report.services {
        for backend in &service.backends {
            let component = |of: fn(&crate::api::types::Components) -> u32| {
                backend.components.as_ref().map_or("-".to_owned(), |c| of(c).to_string())
            };
            let paint = if backend.state == "up" { Paint::Good } else { Paint::Bad };
            table.row([
                plain(&service.service),
                (backend.backend.clone(), Paint::Bold),
                (backend.state.clone(), paint),
                plain(known(backend.active_connections)),
                plain(component(|c| c.active)),
                plain(known(backend.new_connections)),
                plain(component(|c| c.new)),
                plain(backend.load_seconds.map_or("-".to_owned(), millis)),
                plain(component(|c| c.advisor)),
                plain(known(backend.system_load)),
                plain(component(|c| c.system)),
                plain(known(backend.target)),
                (backend.weight.to_string(), Paint::Bold),
                plain(if backend.fixed_weight { "fixed" } else { "" }),
            ]);
        }
    }
    format!("{}{}", line(&report.settings), table.render())
}

/// The settings on one line.
#[must_use]
pub fn line(settings: &ManagerSettings) -> String {
    let ManagerSettings { interval, refresh, sensitivity, smoothing, proportions, .. } = settings;
    format!(
        "manager {}: interval {}, refresh {refresh}, sensitivity {sensitivity} %, smoothing {smoothing}, \
         report_timeout {}, proportions {proportions}\n",
        if settings.enabled { "on" } else { "off" },
        duration::text(interval.0),
        report_timeout::text(settings.report_timeout.map(|timeout| timeout.0)),
    )
}
