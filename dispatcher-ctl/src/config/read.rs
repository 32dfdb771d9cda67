//! The walk over the document: table after table, key after key.

use toml_edit::TableLike;

use super::{ConfigError, ConfigErrors, check};
use crate::{
    model::{BackendConfig, Config, GlobalSettings, RuleConfig, ServiceConfig, ServiceSettings},
    settings::{TABLES, document::Document, row::Table as _, section::Section},
};

/// Reads and checks a whole configuration.
pub(super) fn configuration(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    let mut document = Document::new(file, text, &*TABLES);
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

/// Whether a text has the key of services, or is broken.
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
    let mut document = Document::new("", text, &*TABLES);
    let service = service(&mut document, services.get(0)?, 0);
    document.finish().ok().map(|()| service)
}

/// The first error in the order of the text: later ones may follow from it. The parser's own first error can be lines further
/// down.
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
    let mut s = Section::new(document, table, GlobalSettings::KEYS, String::new(), String::new());
    let mut config = Config { settings: GlobalSettings::read(&mut s), services: Vec::new() };
    for (i, table) in s.tables("service").into_iter().enumerate() {
        config.services.push(service(s.document(), table, i).into());
    }
    s.close();
    config
}

fn service<'a>(d: &mut Document<'a>, table: &'a dyn TableLike, i: usize) -> ServiceConfig {
    let at = format!("service[{i}]");
    let mut s = Section::new(d, table, ServiceSettings::KEYS, at.clone(), at);
    let name = name(&mut s);
    if !name.is_empty() {
        s.object = format!("service {}", check::shown(&name));
    }
    let mut service = ServiceConfig::from(ServiceSettings::read(&mut s, name));
    let (path, object) = (s.path("backend"), service.name.clone());
    for (j, table) in s.tables("backend").into_iter().enumerate() {
        let at = format!("{path}[{j}]");
        let backend = backend(s.document(), table, at, &object, service.weight_bound);
        service.backends.push(backend);
    }
    let path = s.path("rule");
    for (j, table) in s.tables("rule").into_iter().enumerate() {
        service.rules.push(rule(s.document(), table, format!("{path}[{j}]"), &object));
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
    let mut s = Section::new(d, table, BackendConfig::KEYS, at.clone(), at);
    let name = name(&mut s);
    if !name.is_empty() && !service.is_empty() {
        s.object = format!("backend {}/{}", check::shown(service), check::shown(&name));
    }
    let backend = BackendConfig::read(&mut s, name, bound);
    s.close();
    backend
}

fn rule<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    service: &str,
) -> RuleConfig {
    let mut s = Section::new(d, table, RuleConfig::KEYS, at.clone(), at);
    let name = name(&mut s);
    if !name.is_empty() && !service.is_empty() {
        s.object = format!("rule {}/{}", check::shown(service), check::shown(&name));
    }
    let rule = RuleConfig::read(&mut s, name);
    s.close();
    rule
}

fn name(s: &mut Section<'_, '_>) -> String {
    s.require("name", "a name");
    s.text("name", "a name", |text| Some(text.to_owned())).unwrap_or_default()
}
