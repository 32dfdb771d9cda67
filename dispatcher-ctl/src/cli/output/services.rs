//! `services`: one row per service.

use super::{
    Column, Paint, Style, Table,
    table::{nonzero, number, plain, text},
    units::{bytes, si, whole},
};
use crate::{
    api::types::Service,
    model::Choice as _,
    settings::{ServiceSettings, row::Table as _},
};

const COLUMNS: &[Column] = &[
    text("SERVICE"),
    text("ADDRESS"),
    text("SCHEDULER"),
    text("FORWARD"),
    number("UP"),
    number("ACTIVE"),
    number("HALF-OPEN"),
    number("CONNECTIONS"),
    number("PACKETS"),
    number("BYTES"),
    number("DROPS"),
];

/// The table.
#[must_use]
pub fn table(services: &[Service], style: &Style) -> String {
    let mut table = Table::new(COLUMNS, style);
    for service in services {
        table.row([
            (service.name.clone(), Paint::Bold),
            plain(address(service)),
            plain(service.scheduler.word()),
            plain(service.forward.word()),
            up(service),
            plain(whole(service.active_connections)),
            plain(whole(service.half_open_connections)),
            plain(whole(service.connections)),
            plain(si(service.packets as f64)),
            plain(bytes(service.bytes as f64)),
            nonzero(service.drops.values().sum(), whole),
        ]);
    }
    table.render()
}

/// VIP, port and protocol: `192.0.2.80:80/tcp`, `[2001:db8::80]:*/udp`.
#[must_use]
pub fn address(service: &Service) -> String {
    let port = if service.port == 0 { "*".to_owned() } else { service.port.to_string() };
    let protocol = service.protocol.word();
    if service.vip.is_ipv6() {
        format!("[{}]:{port}/{protocol}", service.vip)
    } else {
        format!("{}:{port}/{protocol}", service.vip)
    }
}

/// A service's settings that can change, after `service set`.
#[must_use]
pub fn settings(service: &Service) -> String {
    let settings = service.settings.texts().into_iter().skip(ServiceSettings::PRESET);
    settings.map(|(key, text)| format!("{key} {text}")).collect::<Vec<_>>().join(", ")
}

/// How many of its backends are up.
pub(super) fn up(service: &Service) -> (String, Paint) {
    let up = service.backends.iter().filter(|backend| backend.up).count();
    let paint = match (up, service.backends.len()) {
        (0, _) => Paint::Bad,
        (up, all) if up == all => Paint::Good,
        _ => Paint::Odd,
    };
    (format!("{up}/{}", service.backends.len()), paint)
}
