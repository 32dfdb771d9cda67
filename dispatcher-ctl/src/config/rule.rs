//! `[[service.rule]]`, as it is written.

use std::str::FromStr;

use toml_edit::TableLike;

use super::{
    check,
    document::{Document, Section},
    keys,
    read::{name, set},
};
use crate::model::{Choice, ClientRange, Day, RuleConfig};

/// Reads the table at a path; `service` is the service's name.
pub(super) fn rule<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    service: &str,
) -> RuleConfig {
    let mut s = d.section(table, &keys::RULE, at.clone(), at);
    let mut rule = RuleConfig { name: name(&mut s), ..RuleConfig::default() };
    if !rule.name.is_empty() && !service.is_empty() {
        s.object = format!("rule {}/{}", check::shown(service), check::shown(&rule.name));
    }
    let numbers = 0..=i64::from(u32::MAX);
    s.require("priority", "a whole number, lower ones first");
    set(&mut rule.priority, s.integer("priority", numbers, "0..=4294967295"));
    s.require("backends", "an array of the service's backends");
    set(&mut rule.backends, s.texts("backends", "names of the service's backends"));
    set(
        &mut rule.clients,
        each(&mut s, "clients", CLIENTS, |text| ClientRange::from_str(text).ok()),
    );
    rule.client_ports = s.parsed("client_ports", "ports such as \"53\" or \"1024-2047\"");
    rule.time = s.parsed("time", "a time of day such as \"08:00-18:00\"");
    set(&mut rule.days, each(&mut s, "days", &Day::words(), Day::from_word));
    rule.tos = s.parsed("tos", "value and mask such as \"0xb8/0xfc\"");
    for (key, to) in [
        ("min_new_connections", &mut rule.min_new_connections),
        ("max_new_connections", &mut rule.max_new_connections),
        ("min_active_connections", &mut rule.min_active_connections),
        ("max_active_connections", &mut rule.max_active_connections),
        ("min_bandwidth", &mut rule.min_bandwidth),
        ("max_bandwidth", &mut rule.max_bandwidth),
        ("shared_bandwidth", &mut rule.shared_bandwidth),
    ] {
        *to = s.integer(key, 0..=i64::MAX, "0 or more");
    }
    set(&mut rule.share, s.choice("share", &[]));
    set(&mut rule.always, s.boolean("always"));
    set(&mut rule.evaluate, s.choice("evaluate", &[]));
    s.close();
    rule
}

const CLIENTS: &str = "an address, a network such as \"198.51.100.0/24\" without bits beyond its length, or a range such as \"198.51.100.10-198.51.100.20\"";

/// What each text of an array says; what it says wrong is reported, and then nothing is yielded.
fn each<T>(
    s: &mut Section<'_, '_>,
    key: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let texts = s.texts(key, &format!("texts: {expected}"))?;
    let mut values = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match parse(text) {
            Some(value) => values.push(value),
            // What is no text at all has been reported, and is empty.
            None if text.is_empty() => {}
            None => {
                let message = format!("{key} holds {text:?}, expected {expected}");
                s.wrong(&format!("{key}[{i}]"), message, None);
            }
        }
    }
    if values.len() < texts.len() {
        s.spoil(key);
        return None;
    }
    Some(values)
}
