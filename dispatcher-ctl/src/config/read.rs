//! The walk over the document: table after table, key after key.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use toml_edit::TableLike;

use super::{
    ConfigError, ConfigErrors, advisor, affinity, check, defaults,
    document::{Document, Section},
    exits, keys, manager, rule,
};
use crate::model::{BackendConfig, Config, Connections, Protocol, ServiceConfig};

/// Capacities of the connection table: two buckets, and 2²⁵ of them (2 GiB; the largest that was mapped).
const CAPACITY: std::ops::RangeInclusive<i64> = 16..=268_435_456;
/// What stands for an address that could not be read, until the error is reported.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Reads and checks a whole configuration.
pub(super) fn configuration(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    let mut document = Document::new(file, text);
    let parsed = match toml_edit::Document::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => return Err(broken(document, text, &error)),
    };
    let config = top(&mut document, parsed.as_table());
    for problem in check::config(&config) {
        document.problem(problem);
    }
    document.finish().map(|()| config)
}

/// Whether a text says anything of services, even that there are none; or is broken.
pub(super) fn has_services(text: &str) -> bool {
    toml_edit::Document::parse(text)
        .map_or(true, |parsed| parsed.as_table().contains_key("service"))
}

/// The one service that is all of a text, if nothing is wrong with it on its own.
pub(super) fn service_of(text: &str) -> Option<ServiceConfig> {
    let parsed = toml_edit::Document::parse(text).ok()?;
    let services = parsed.as_table().get("service")?.as_array_of_tables()?;
    if parsed.as_table().len() != 1 || services.len() != 1 {
        return None;
    }
    let mut document = Document::new("", text);
    let service = service(&mut document, services.get(0)?, 0);
    document.finish().ok().map(|()| service)
}

/// The first thing that is broken, in the order of the text: what comes after it may only follow from it. The parser's
/// own first error is the first that it came upon, which can be lines further down.
fn broken(mut document: Document<'_>, text: &str, error: &toml_edit::TomlError) -> ConfigErrors {
    let start = |span: Option<std::ops::Range<usize>>| span.map_or(0, |span| span.start);
    let (_, all) = toml::de::DeTable::parse_recoverable(text);
    let (offset, message) = all
        .iter()
        .map(|error| (start(error.span()), error.message()))
        .min_by_key(|(offset, _)| *offset)
        .unwrap_or_else(|| (start(error.span()), error.message()));
    let message = message.lines().collect::<Vec<_>>().join(", ");
    document.report(offset, || ConfigError::new("", format!("broken TOML: {message}")));
    document.into_errors()
}

fn top<'a>(document: &mut Document<'a>, table: &'a dyn TableLike) -> Config {
    let mut s = document.section(table, &keys::TOP, String::new(), String::new());
    s.require("interfaces", "an array of NIC names (empty if they are attached at runtime)");
    let mut config = defaults::config(s.texts("interfaces", "NIC names").unwrap_or_default());
    set(&mut config.xdp_mode, s.choice("xdp_mode", &[]));
    set(&mut config.api_socket, path(&mut s, "api_socket"));
    let expected = "an address and port such as \"127.0.0.1:9464\"";
    set(&mut config.metrics_listen, s.parsed("metrics_listen", expected));
    set(&mut config.pin_dir, path(&mut s, "pin_dir"));
    set(&mut config.manage_vips, s.boolean("manage_vips"));
    set(&mut config.manage_arp, s.boolean("manage_arp"));
    if let Some(table) = s.table("connections") {
        connections(s.document(), table, &mut config.connections);
    }
    if let Some(table) = s.table("manager") {
        manager::manager(s.document(), table, &mut config.manager);
    }
    if let Some(table) = s.table("exits") {
        exits::exits(s.document(), table, &mut config.exits);
    }
    for (i, table) in s.tables("service").into_iter().enumerate() {
        config.services.push(service(s.document(), table, i).into());
    }
    s.close();
    config
}

fn path(s: &mut Section<'_, '_>, key: &str) -> Option<PathBuf> {
    s.text(key, "a path", |text| Some(PathBuf::from(text)))
}

fn connections<'a>(d: &mut Document<'a>, table: &'a dyn TableLike, to: &mut Connections) {
    let mut s = d.section(table, &keys::CONNECTIONS, "connections".into(), "connections".into());
    let expected = format!("{}..={}", CAPACITY.start(), CAPACITY.end());
    set(&mut to.capacity, s.integer("capacity", CAPACITY, &expected));
    let expected = format!("0..={}", CAPACITY.end());
    set(&mut to.syn_guard, s.integer("syn_guard", 0..=*CAPACITY.end(), &expected));
    set(&mut to.orphan, s.choice("orphan", &[]));
    s.close();
}

fn service<'a>(d: &mut Document<'a>, table: &'a dyn TableLike, i: usize) -> ServiceConfig {
    let at = format!("service[{i}]");
    let mut s = d.section(table, &keys::SERVICE, at.clone(), at);
    let name = name(&mut s);
    if !name.is_empty() {
        s.object = format!("service {}", check::shown(&name));
    }
    s.require("vip", "an IPv4 or IPv6 address");
    s.require("port", "0..=65535 (0: every port)");
    s.require("protocol", &<Protocol as crate::model::Choice>::words());
    let vip = s.parsed("vip", "an IPv4 or IPv6 address").unwrap_or(NO_ADDRESS);
    let port = s.integer("port", 0..=65_535, "0..=65535").unwrap_or(0);
    let protocol = s.choice("protocol", &[]).unwrap_or(Protocol::Tcp);
    let mut service = ServiceConfig::from(defaults::service(name, vip, port, protocol));
    set(&mut service.scheduler, s.choice("scheduler", &[]));
    set(&mut service.forward, s.choice("forward", &["tunnel", "nat"]));
    set(&mut service.stale_timeout, s.duration("stale_timeout"));
    set(&mut service.syn_timeout, s.duration("syn_timeout"));
    set(&mut service.fin_timeout, s.duration("fin_timeout"));
    set(&mut service.fin_count, s.integer("fin_count", 0..=i64::MAX, "0 or more"));
    set(&mut service.on_down, s.choice("on_down", &[]));
    set(&mut service.measure, s.boolean("measure"));
    let bound = s.integer("weight_bound", 0..=i64::from(u32::MAX), check::BOUND_RANGE);
    set(&mut service.weight_bound, bound);
    if let Some(table) = s.table("proportions") {
        let (path, object) = (s.path("proportions"), s.object.clone());
        service.proportions = Some(manager::proportions(s.document(), table, path, object));
    }
    set(&mut service.slow_start, s.duration("slow_start"));
    if let Some(table) = s.table("affinity") {
        let (path, object) = (s.path("affinity"), s.object.clone());
        service.affinity = affinity::affinity(s.document(), table, path, object);
    }
    if let Some(table) = s.table("advisor") {
        let (path, object) = (s.path("advisor"), s.object.clone());
        service.advisor = Some(advisor::advisor(s.document(), table, path, object));
    }
    if let Some(table) = s.table("agent") {
        let (path, object) = (s.path("agent"), s.object.clone());
        service.agent = Some(advisor::agent(s.document(), table, path, object));
    }
    let (path, object) = (s.path("backend"), service.name.clone());
    for (j, table) in s.tables("backend").into_iter().enumerate() {
        let at = format!("{path}[{j}]");
        let backend = backend(s.document(), table, at, &object, service.weight_bound);
        service.backends.push(backend);
    }
    let path = s.path("rule");
    for (j, table) in s.tables("rule").into_iter().enumerate() {
        service.rules.push(rule::rule(s.document(), table, format!("{path}[{j}]"), &object));
    }
    s.close();
    service
}

fn backend<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    service: &str,
    bound: u32,
) -> BackendConfig {
    let mut s = d.section(table, &keys::BACKEND, at.clone(), at);
    let name = name(&mut s);
    if !name.is_empty() && !service.is_empty() {
        s.object = format!("backend {}/{}", check::shown(service), check::shown(&name));
    }
    s.require("address", "an IPv4 or IPv6 address");
    let address = s.parsed("address", "an IPv4 or IPv6 address").unwrap_or(NO_ADDRESS);
    let mut backend = defaults::backend(name, address, bound);
    backend.mac = s.parsed("mac", "six hexadecimal bytes such as \"02:00:00:00:00:01\"");
    let weights = 0..=i64::from(u32::MAX);
    set(&mut backend.weight, s.integer("weight", weights, &format!("0..={bound}")));
    set(&mut backend.fixed_weight, s.boolean("fixed_weight"));
    set(&mut backend.sorry, s.boolean("sorry"));
    set(&mut backend.local, s.boolean("local"));
    let any = 0..=i64::from(u32::MAX);
    let most = s.integer("max_connections", any, check::MOST_CONNECTIONS_RANGE);
    set(&mut backend.max_connections, most);
    set(&mut backend.sticky, s.boolean("sticky"));
    s.close();
    backend
}

pub(super) fn name(s: &mut Section<'_, '_>) -> String {
    s.require("name", "a name");
    s.text("name", "a name", |text| Some(text.to_owned())).unwrap_or_default()
}

/// Replaces a default by what was said, if anything was.
pub(super) fn set<T>(to: &mut T, said: Option<T>) {
    if let Some(value) = said {
        *to = value;
    }
}
