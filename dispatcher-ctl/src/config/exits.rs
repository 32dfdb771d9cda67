//! `[exits]`, as it is written.

use toml_edit::TableLike;

use super::{document::Document, keys, read::set};
use crate::model::Exits;

/// Reads the table.
pub(super) fn exits<'a>(d: &mut Document<'a>, table: &'a dyn TableLike, to: &mut Exits) {
    let mut s = d.section(table, &keys::EXITS, "exits".into(), "exits".into());
    for event in Exits::EVENTS {
        if let Some(words) = s.texts(event, "program and arguments") {
            to.commands.insert(event.to_owned(), words);
        }
    }
    set(&mut to.timeout, s.duration("timeout"));
    set(&mut to.queue, s.integer("queue", 1..=10_000, "1..=10000"));
    s.close();
}
