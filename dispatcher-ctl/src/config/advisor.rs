//! `[service.advisor]`, as it is written.

use toml_edit::TableLike;

use super::{document::Document, keys, read::set};
use crate::model::{Advisor, AdvisorKind, Choice as _, Statuses};

/// Kinds and targets that a later version has.
const LATER_KINDS: &[&str] = &[
    "https", "tls", "dns", "smtp", "imap", "pop3", "ftp", "ldap", "nntp", "sip", "ping", "udp",
    "exec", "agent",
];

/// Reads the table at a path; `object` is what messages call the service.
pub(super) fn advisor<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Advisor {
    let mut s = d.section(table, &keys::ADVISOR, at, object);
    s.require("kind", &AdvisorKind::words());
    s.require("target", "address");
    let mut advisor = Advisor::new(s.choice("kind", LATER_KINDS).unwrap_or(AdvisorKind::Connect));
    set(&mut advisor.target, s.choice("target", &["vip"]));
    advisor.port = s.integer("port", 1..=65_535, "1..=65535");
    set(&mut advisor.path, s.text("path", "a path from /", |text| Some(text.to_owned())));
    advisor.host = s.text("host", "a host's name", |text| Some(text.to_owned()));
    set(&mut advisor.expect_status, s.parsed("expect_status", Statuses::EXPECTED));
    advisor.expect_body = s.text("expect_body", "a text", |text| Some(text.to_owned()));
    set(&mut advisor.interval, s.duration("interval"));
    set(&mut advisor.connect_timeout, s.duration("connect_timeout"));
    set(&mut advisor.receive_timeout, s.duration("receive_timeout"));
    set(&mut advisor.rise, s.integer("rise", 1..=100, "1..=100"));
    set(&mut advisor.fall, s.integer("fall", 1..=100, "1..=100"));
    s.close();
    advisor
}
