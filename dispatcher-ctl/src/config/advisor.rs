//! `[service.advisor]` and `[service.agent]`, as they are written.

use std::path::PathBuf;

use toml_edit::TableLike;

use super::{
    document::{Document, Section},
    keys,
    read::set,
};
use crate::model::{Advisor, AdvisorKind, Choice as _, Hex, Passive, Statuses};

/// Reads the table at a path; `object` is what messages call the service.
pub(super) fn advisor<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Advisor {
    let mut s = d.section(table, &keys::ADVISOR, at, object);
    s.require("kind", &AdvisorKind::words());
    let kind = s.choice("kind", &[]);
    let mut advisor = Advisor::new(kind.unwrap_or(AdvisorKind::Connect));
    set(&mut advisor.target, s.choice("target", &[]));
    times(&mut s, &mut advisor);
    if let Some(kind) = kind {
        for key in kind.keys() {
            of_kind(&mut s, &mut advisor, key);
        }
        foreign(&mut s, kind);
    }
    if let Some(table) = s.table("passive") {
        let (path, object) = (s.path("passive"), s.object.clone());
        advisor.passive = passive(s.document(), table, path, object);
    }
    s.close();
    advisor
}

/// Reads the thresholds of passive signals.
fn passive<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Passive {
    const RANGE: &str = "0..=4294967295";
    let mut s = d.section(table, &keys::PASSIVE, at, object);
    let mut passive = Passive::default();
    set(&mut passive.window, s.duration("window"));
    set(&mut passive.retried, s.integer("retried", 0..=i64::from(u32::MAX), RANGE));
    set(&mut passive.unanswered, s.integer("unanswered", 0..=i64::from(u32::MAX), RANGE));
    s.close();
    passive
}

/// Reads `[service.agent]`: how metric agents are asked, beside the advisor.
pub(super) fn agent<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Advisor {
    let mut s = d.section(table, &keys::AGENT, at, object);
    let mut agent = Advisor::new(AdvisorKind::Agent);
    times(&mut s, &mut agent);
    for key in AdvisorKind::Agent.keys() {
        of_kind(&mut s, &mut agent, key);
    }
    s.close();
    agent
}

/// What every kind has.
fn times(s: &mut Section<'_, '_>, to: &mut Advisor) {
    set(&mut to.interval, s.duration("interval"));
    set(&mut to.down_interval, s.duration("down_interval"));
    set(&mut to.connect_timeout, s.duration("connect_timeout"));
    set(&mut to.receive_timeout, s.duration("receive_timeout"));
    set(&mut to.rise, s.integer("rise", 1..=100, "1..=100"));
    set(&mut to.fall, s.integer("fall", 1..=100, "1..=100"));
}

/// Reads a setting that not every kind has.
fn of_kind(s: &mut Section<'_, '_>, to: &mut Advisor, key: &'static str) {
    match key {
        "port" => to.port = s.integer(key, 1..=65_535, "1..=65535"),
        "method" => set(&mut to.method, s.choice(key, &[])),
        "path" => set(&mut to.path, text(s, key, "a path from /")),
        "host" => to.host = text(s, key, "a host's name"),
        "expect_status" => set(&mut to.expect_status, s.parsed(key, Statuses::EXPECTED)),
        "expect_body" => to.expect_body = text(s, key, "a text"),
        "tls" => set(&mut to.tls, s.boolean(key)),
        "tls_verify" => set(&mut to.tls_verify, s.boolean(key)),
        "tls_ca_file" => to.tls_ca_file = path(s, key),
        "query" => {
            s.require(key, "a domain name");
            set(&mut to.query, text(s, key, "a domain name"));
        }
        "query_type" => set(&mut to.query_type, s.choice(key, &[])),
        "expect_rcode" => set(&mut to.expect_rcode, s.choice(key, &[])),
        "request" => set(&mut to.request, s.parsed(key, Hex::EXPECTED)),
        "response" => set(&mut to.response, s.parsed(key, Hex::EXPECTED)),
        "command" => {
            s.require(key, "an array of texts: a program and its arguments");
            set(&mut to.command, s.texts(key, "texts: a program and its arguments"));
        }
        "key_file" => {
            s.require(key, "a path");
            to.key_file = path(s, key);
        }
        _ => debug_assert!(false, "{key} of a kind is not read"),
    }
}

/// Reports settings that this kind does not have, but another.
fn foreign(s: &mut Section<'_, '_>, kind: AdvisorKind) {
    let of_all = AdvisorKind::ALL.iter().flat_map(|kind| kind.keys());
    let mut keys: Vec<&str> = of_all.copied().filter(|key| !kind.keys().contains(key)).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        if s.item(key).is_some() {
            let has = |kind: &&AdvisorKind| kind.keys().contains(&key);
            let whose: Vec<_> = AdvisorKind::ALL.iter().filter(has).map(|k| k.word()).collect();
            let message = format!(
                "{key} means nothing for kind {kind:?}, expected kind {}",
                or(&whose),
                kind = kind.word()
            );
            s.wrong(key, message, None);
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn or(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

fn text(s: &mut Section<'_, '_>, key: &str, expected: &str) -> Option<String> {
    s.text(key, expected, |text| Some(text.to_owned()))
}

fn path(s: &mut Section<'_, '_>, key: &str) -> Option<PathBuf> {
    s.text(key, "a path", |text| Some(PathBuf::from(text)))
}
