//! `[manager]` and `proportions`, as they are written.

use toml_edit::TableLike;

use super::{document::Document, keys, read::set};
use crate::model::{Manager, Proportions, report_timeout};

/// Reads the table.
pub(super) fn manager<'a>(d: &mut Document<'a>, table: &'a dyn TableLike, to: &mut Manager) {
    let mut s = d.section(table, &keys::MANAGER, "manager".into(), "manager".into());
    set(&mut to.enabled, s.boolean("enabled"));
    set(&mut to.interval, s.duration("interval"));
    set(&mut to.refresh, s.integer("refresh", 0..=i64::from(u32::MAX), "1..=1000"));
    set(&mut to.sensitivity, s.number("sensitivity"));
    set(&mut to.smoothing, s.number("smoothing"));
    set(
        &mut to.report_timeout,
        s.text("report_timeout", report_timeout::EXPECTED, report_timeout::parse),
    );
    if let Some(table) = s.table("proportions") {
        let (path, object) = (s.path("proportions"), s.object.clone());
        to.proportions = proportions(s.document(), table, path, object);
    }
    s.close();
}

/// Reads the table at a path; `object` is what messages call what it belongs to.
pub(super) fn proportions<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Proportions {
    let mut s = d.section(table, &keys::PROPORTIONS, at, object);
    let mut proportions = Proportions::default();
    for (key, to) in [
        ("active", &mut proportions.active),
        ("new", &mut proportions.new),
        ("advisor", &mut proportions.advisor),
        ("system", &mut proportions.system),
    ] {
        s.require(key, "0..=100: a share of 100 for each of the four inputs");
        set(to, s.integer(key, 0..=100, "0..=100"));
    }
    s.close();
    proportions
}
