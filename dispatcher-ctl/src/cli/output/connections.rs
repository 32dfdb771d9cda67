//! `connections`: one row per connection.

use std::net::SocketAddr;

use super::{
    Column, Style, Table, clean,
    table::{number, plain, text},
    units::{bytes, millis, span},
};
use crate::{api::types::Connections, model::Choice as _};

const COLUMNS: &[Column] = &[
    text("PROTOCOL"),
    text("CLIENT"),
    text("VIP"),
    text("SERVICE"),
    text("BACKEND"),
    text("STATE"),
    number("AGE"),
    number("IDLE"),
    number("DELIVERED"),
    number("RESPONSE"),
];

/// The table.
#[must_use]
pub fn table(connections: &Connections, style: &Style) -> String {
    let mut table = Table::new(COLUMNS, style);
    for c in &connections.connections {
        table.row([
            plain(c.protocol.word()),
            plain(SocketAddr::new(c.client, c.client_port)),
            plain(SocketAddr::new(c.vip, c.vip_port)),
            plain(&c.service),
            plain(&c.backend),
            plain(&c.state),
            plain(span(c.age_seconds)),
            plain(span(c.idle_seconds)),
            plain(c.delivered_bytes.map_or("-".to_owned(), |b| bytes(b as f64))),
            plain(c.response_seconds.map_or("-".to_owned(), millis)),
        ]);
    }
    let mut text = table.render();
    if connections.truncated {
        let shown = connections.connections.len();
        text += &clean(&format!("{shown} shown, there are more: --limit N"));
        text.push('\n');
    }
    text
}
