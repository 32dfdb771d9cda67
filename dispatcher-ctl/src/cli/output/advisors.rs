//! `advisor report`: one row per probed backend.

use super::{
    Column, Paint, Style, Table, shortened,
    table::{number, plain, text},
    units::{millis, span, whole},
};
use crate::{
    api::types::{AdvisorReport, BackendAdvisor},
    model::Choice as _,
};

const COLUMNS: &[Column] = &[
    text("SERVICE"),
    text("BACKEND"),
    text("KIND"),
    text("TARGET"),
    text("STATE"),
    text("SINCE"),
    number("LOAD"),
    number("PROBES"),
    number("FAILED"),
    text("LAST ERROR"),
];

/// The table.
#[must_use]
pub fn table(reports: &[AdvisorReport], style: &Style) -> String {
    let mut table = Table::new(COLUMNS, style);
    for report in reports {
        let advisor = &report.advisor;
        let paint = if report.up { Paint::Good } else { Paint::Bad };
        table.row([
            plain(&report.service),
            (report.backend.clone(), Paint::Bold),
            plain(advisor.kind.word()),
            plain(advisor.target.word()),
            (shortened(&report.state), paint),
            plain(span(style.now - report.since)),
            plain(load(advisor)),
            plain(whole(advisor.probes.success + advisor.probes.failure)),
            plain(whole(advisor.probes.failure)),
            plain(advisor.last_error.as_deref().map_or("-".to_owned(), shortened)),
        ]);
    }
    table.render()
}

/// A time, or a percentage of the machine's capacity.
fn load(advisor: &BackendAdvisor) -> String {
    match (advisor.load_seconds, advisor.system_load) {
        (Some(seconds), _) => millis(seconds),
        (None, Some(load)) => format!("{load:.0} %"),
        (None, None) => "-".to_owned(),
    }
}
