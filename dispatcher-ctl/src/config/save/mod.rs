//! The file rewritten so that it says what runs: only values that differ are touched, comments and layout stay.
//!
//! What a value means may depend on another (`weight` on `weight_bound`, `stale_timeout` on protocol and port), so the file is
//! edited, read again, and edited again until it says what runs; a file that does not is never returned.

use std::collections::HashMap;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{ConfigError, ConfigErrors, defaults, keys, parse};
use crate::model::{
    Advisor, Affinity, BackendConfig, Choice as _, Config, Manager, Outline, Passive, Proportions,
    RuleConfig, ServiceSettings, State, duration, report_timeout,
};

mod lines;

/// How often the file is edited at most: once, and once more for what followed from the first edits.
const ROUNDS: usize = 3;
/// The first settings of a service, which have no default: name, VIP, port, protocol.
const KEY_OF_SERVICE: usize = 4;

/// A configuration file that says what runs.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its text.
    pub text: String,
    /// What it says.
    pub config: Config,
}

impl Saved {
    /// Whether it still says what runs, but for the order.
    #[must_use]
    pub fn says(&self, state: &State) -> bool {
        says(&self.config, state, &wanted(state))
    }
}

/// The text of the configuration file, rewritten to say what runs. Line ends stay as they are. The order of services, backends and NICs is the file's;
/// what is new comes last. Quiesced and down are not in the language of the file and are not written.
///
/// # Errors
/// The file is broken, or is no longer the one that was applied: what its user has changed since then is not to be
/// overwritten.
pub fn save(
    text: &str,
    file_name: &str,
    applied: &Config,
    state: &State,
) -> Result<Saved, ConfigErrors> {
    let before = text;
    let mut now = parse(text, file_name)?;
    if now != *applied {
        let message = format!("{file_name} has changed since it was applied, so it is not written");
        return Err(ConfigError::new("", message).with_hint("reload first, then save").into());
    }
    let wanted = wanted(state);
    let mut text = text.to_owned();
    for _ in 0..ROUNDS {
        if says(&now, state, &wanted) {
            let text = lines::as_before(before, &text);
            return match parse(&text, file_name) {
                Ok(config) if config == now => Ok(Saved { text, config }),
                _ => Err(unwritable(file_name).into()),
            };
        }
        let mut document: DocumentMut = text.parse().map_err(|_| unwritable(file_name))?;
        interfaces(&mut document, &now, state);
        manager(&mut document, &now.manager, &state.manager);
        rewrite(document.as_table_mut(), "service", &described(&now), &wanted, false);
        text = document.to_string();
        now = parse(&text, file_name)?;
    }
    Err(unwritable(file_name).into())
}

/// The services that run, as a file describes them.
fn wanted(state: &State) -> Vec<Outline<'_>> {
    state.services.iter().map(|service| (&**service).into()).collect()
}

/// The services of a file.
fn described(config: &Config) -> Vec<Outline<'_>> {
    config.services.iter().map(|service| (&**service).into()).collect()
}

fn unwritable(file_name: &str) -> ConfigError {
    ConfigError::new("", format!("{file_name} cannot be rewritten to say what runs"))
}

/// Whether a configuration is what runs, but for the order.
fn says(config: &Config, state: &State, wanted: &[Outline<'_>]) -> bool {
    let same_nics = config.interfaces.len() == state.interfaces.len()
        && config.interfaces.iter().all(|name| state.interfaces.contains(name));
    same_nics && config.manager == state.manager && same(&described(config), wanted)
}

/// Something with a name and settings, that is written as a table.
trait Row: Sized {
    /// Its name, unique in its array.
    fn name(&self) -> &str;
    /// Its settings as they are written; `None`: the key is left out.
    fn settings(&self) -> Vec<(&'static str, Option<Value>)>;
    /// The settings that a new table of it needs.
    fn needed(&self) -> Vec<(&'static str, Option<Value>)>;
    /// Whether it means the same as another of the same name.
    fn is(&self, other: &Self) -> bool;
    /// Rewrites what stands below it, from what it says now.
    fn below(&self, _table: &mut dyn TableLike, _now: Option<&Self>, _inline: bool) {}
}

impl<T: Row> Row for &T {
    fn name(&self) -> &str {
        T::name(self)
    }

    fn settings(&self) -> Vec<(&'static str, Option<Value>)> {
        T::settings(self)
    }

    fn needed(&self) -> Vec<(&'static str, Option<Value>)> {
        T::needed(self)
    }

    fn is(&self, other: &Self) -> bool {
        T::is(self, other)
    }

    fn below(&self, table: &mut dyn TableLike, now: Option<&Self>, inline: bool) {
        T::below(self, table, now.copied(), inline);
    }
}

impl Row for Outline<'_> {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn settings(&self) -> Vec<(&'static str, Option<Value>)> {
        service(self.settings)
    }

    fn needed(&self) -> Vec<(&'static str, Option<Value>)> {
        let ServiceSettings { name, vip, port, protocol, .. } = self.settings;
        let bare = defaults::service(name.clone(), *vip, *port, *protocol);
        let (said, unsaid) = (service(self.settings), service(&bare));
        let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
        let is_needed = |i: usize| i < KEY_OF_SERVICE || text(&said[i].1) != text(&unsaid[i].1);
        (0..said.len()).filter(|i| is_needed(*i)).map(|i| said[i].clone()).collect()
    }

    fn below(&self, table: &mut dyn TableLike, now: Option<&Self>, inline: bool) {
        let rules = now.map_or(&[][..], |now| &now.rules);
        let now = now.map_or(&[][..], |now| &now.backends);
        if !same(now, &self.backends) {
            rewrite(table, "backend", now, &self.backends, inline);
        }
        if !same(rules, &self.rules) {
            rewrite(table, "rule", rules, &self.rules, inline);
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.settings == other.settings
            && same(&self.backends, &other.backends)
            && same(&self.rules, &other.rules)
    }
}

/// The settings of a service, as they are written.
fn service(of: &ServiceSettings) -> Vec<(&'static str, Option<Value>)> {
    let text = |value: String| Some(Value::from(value));
    let time = |value| Some(Value::from(duration::text(value)));
    vec![
        ("name", text(of.name.clone())),
        ("vip", text(of.vip.to_string())),
        ("port", Some(Value::from(i64::from(of.port)))),
        ("protocol", text(of.protocol.to_string())),
        ("scheduler", text(of.scheduler.to_string())),
        ("forward", text(of.forward.to_string())),
        ("stale_timeout", time(of.stale_timeout)),
        ("syn_timeout", time(of.syn_timeout)),
        ("fin_timeout", time(of.fin_timeout)),
        ("fin_count", i64::try_from(of.fin_count).ok().map(Value::from)),
        ("on_down", text(of.on_down.to_string())),
        ("measure", Some(Value::from(of.measure))),
        ("weight_bound", Some(Value::from(i64::from(of.weight_bound)))),
        ("proportions", of.proportions.map(proportions)),
        ("slow_start", time(of.slow_start)),
        ("affinity", affinity(&of.affinity)),
        ("advisor", of.advisor.as_ref().map(advisor)),
        ("agent", of.agent.as_ref().map(agent)),
    ]
}

impl Row for BackendConfig {
    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> Vec<(&'static str, Option<Value>)> {
        vec![
            ("name", Some(Value::from(self.name.clone()))),
            ("address", Some(Value::from(self.address.to_string()))),
            ("mac", self.mac.map(|mac| Value::from(mac.to_string()))),
            ("weight", Some(Value::from(i64::from(self.weight)))),
            ("fixed_weight", if self.fixed_weight { Some(Value::from(true)) } else { None }),
            ("sorry", if self.sorry { Some(Value::from(true)) } else { None }),
            ("local", if self.local { Some(Value::from(true)) } else { None }),
            (
                "max_connections",
                (self.max_connections > 0).then(|| Value::from(i64::from(self.max_connections))),
            ),
            ("sticky", if self.sticky { None } else { Some(Value::from(false)) }),
        ]
    }

    fn needed(&self) -> Vec<(&'static str, Option<Value>)> {
        self.settings()
    }

    fn is(&self, other: &Self) -> bool {
        self == other
    }
}

impl Row for RuleConfig {
    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> Vec<(&'static str, Option<Value>)> {
        let said = self.settings();
        let value = |key: &&'static str| (*key, said.get(*key).and_then(as_toml));
        keys::RULE.known.iter().map(value).collect()
    }

    fn needed(&self) -> Vec<(&'static str, Option<Value>)> {
        Row::settings(self)
    }

    fn is(&self, other: &Self) -> bool {
        self == other
    }
}

/// A setting as the file writes it: text, number, boolean, or an array of texts.
fn as_toml(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::String(text) => Some(text.into()),
        serde_json::Value::Number(number) => number.as_i64().map(Value::from),
        serde_json::Value::Bool(bool) => Some((*bool).into()),
        serde_json::Value::Array(values) => {
            Some(values.iter().filter_map(as_toml).collect::<Array>().into())
        }
        serde_json::Value::Null | serde_json::Value::Object(_) => None,
    }
}

/// The manager's settings, in its own table.
fn manager(document: &mut DocumentMut, now: &Manager, wanted: &Manager) {
    let settings = |manager: &Manager| {
        [
            ("enabled", Value::from(manager.enabled)),
            ("interval", duration::text(manager.interval).into()),
            ("refresh", i64::from(manager.refresh).into()),
            ("sensitivity", manager.sensitivity.into()),
            ("smoothing", manager.smoothing.into()),
            ("report_timeout", report_timeout::text(manager.report_timeout).into()),
            ("proportions", proportions(manager.proportions)),
        ]
    };
    let changed = settings(now).into_iter().zip(settings(wanted));
    let changed = changed.filter(|((_, is), (_, shall))| is.to_string() != shall.to_string());
    for (_, (key, value)) in changed {
        let table = document.entry("manager").or_insert(Item::Table(Table::new()));
        if let Some(table) = table.as_table_like_mut() {
            set(table, key, Some(value));
        }
    }
}

/// Proportions on one line.
fn proportions(proportions: Proportions) -> Value {
    let parts = ["active", "new", "advisor", "system"].into_iter().zip(proportions.all());
    parts.map(|(key, percent)| (key, i64::from(percent))).collect::<InlineTable>().into()
}

/// What of it is not the default; nothing, where all of it is.
fn affinity(affinity: &Affinity) -> Option<Value> {
    let default = Affinity::default();
    let mut table = InlineTable::new();
    if affinity.timeout != default.timeout {
        table.insert("timeout", duration::text(affinity.timeout).into());
    }
    if affinity.mask_v4 != default.mask_v4 {
        table.insert("mask_v4", i64::from(affinity.mask_v4).into());
    }
    if affinity.mask_v6 != default.mask_v6 {
        table.insert("mask_v6", i64::from(affinity.mask_v6).into());
    }
    if affinity.cross_port != default.cross_port {
        let ports = affinity.cross_port.iter().map(|port| i64::from(*port)).collect::<Array>();
        table.insert("cross_port", ports.into());
    }
    if table.is_empty() { None } else { Some(table.into()) }
}

/// An advisor on one line, every setting said that its kind has.
fn advisor(advisor: &Advisor) -> Value {
    let mut table = InlineTable::new();
    let mut say = |key: &str, value: Option<Value>| drop(value.map(|v| table.insert(key, v)));
    let time = |value| Some(Value::from(duration::text(value)));
    say("kind", Some(advisor.kind.word().into()));
    say("target", Some(advisor.target.word().into()));
    for key in advisor.kind.keys() {
        let value = match *key {
            "port" => advisor.port.map(|port| i64::from(port).into()),
            "tls" => Some(advisor.tls.into()),
            "tls_verify" => Some(advisor.tls_verify.into()),
            "command" => Some(Value::Array(advisor.command.iter().map(String::as_str).collect())),
            text => advisor.setting(text).map(Value::from),
        };
        say(key, value);
    }
    say("interval", time(advisor.interval));
    say("down_interval", time(advisor.down_interval));
    say("connect_timeout", time(advisor.connect_timeout));
    say("receive_timeout", time(advisor.receive_timeout));
    say("rise", Some(i64::from(advisor.rise).into()));
    say("fall", Some(i64::from(advisor.fall).into()));
    say("passive", passive(advisor.passive));
    table.into()
}

/// What `[service.agent]` says: an advisor whose kind and target go without saying.
fn agent(agent: &Advisor) -> Value {
    let mut value = advisor(agent);
    if let Some(table) = value.as_inline_table_mut() {
        table.remove("kind");
        table.remove("target");
    }
    value
}

/// Thresholds on one line; nothing, where they are the default.
fn passive(passive: Passive) -> Option<Value> {
    let mut table = InlineTable::new();
    table.insert("window", duration::text(passive.window).into());
    table.insert("retried", i64::from(passive.retried).into());
    table.insert("unanswered", i64::from(passive.unanswered).into());
    (passive != Passive::default()).then(|| table.into())
}

/// Whether rows mean the same as others, but for the order.
fn same<T: Row>(these: &[T], those: &[T]) -> bool {
    if these.len() != those.len() {
        return false;
    }
    // Mostly they stand in the same order.
    if these.iter().zip(those).all(|(this, that)| this.name() == that.name()) {
        return these.iter().zip(those).all(|(this, that)| this.is(that));
    }
    let those = by_name(those);
    these.iter().all(|this| those.get(this.name()).is_some_and(|that| this.is(that)))
}

fn by_name<T: Row>(rows: &[T]) -> HashMap<&str, &T> {
    rows.iter().map(|row| (row.name(), row)).collect()
}

/// An array of tables, as it is written: under headings or inline.
enum Rows<'d> {
    Headed(&'d mut ArrayOfTables),
    Inline(&'d mut Array),
}

/// Makes the array of tables under a key, which says `now`, say `wanted`.
fn rewrite<T: Row>(table: &mut dyn TableLike, key: &str, now: &[T], wanted: &[T], inline: bool) {
    let Some(mut rows) = Rows::of(table, key, inline) else { return };
    let inline = matches!(rows, Rows::Inline(_));
    let (kept, former) = (by_name(wanted), by_name(now));
    for (i, row) in now.iter().enumerate().rev() {
        match (kept.get(row.name()), rows.table(i)) {
            (Some(&wanted), Some(table)) if !row.is(wanted) => {
                settings(table, row, wanted);
                wanted.below(table, Some(row), inline);
            }
            (None, _) => rows.remove(i),
            (Some(_), _) => {}
        }
    }
    for row in wanted.iter().filter(|row| !former.contains_key(row.name())) {
        let mut table = Table::new();
        for (key, value) in row.needed() {
            set(&mut table, key, value);
        }
        row.below(&mut table, None, inline);
        rows.push(table);
    }
}

/// Writes the settings that differ.
fn settings<T: Row>(table: &mut dyn TableLike, now: &T, wanted: &T) {
    let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
    for ((key, is), (_, shall)) in now.settings().into_iter().zip(wanted.settings()) {
        if text(&is) != text(&shall) {
            set(table, key, shall);
        }
    }
}

/// Writes a value in the place of the one that is there, or after the last, or takes it away.
fn set(table: &mut dyn TableLike, key: &str, value: Option<Value>) {
    let Some(mut value) = value else {
        table.remove(key);
        return;
    };
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(before) => {
            value.decor_mut().clone_from(before.decor());
            *before = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn interfaces(document: &mut DocumentMut, now: &Config, state: &State) {
    let Some(array) = document.get_mut("interfaces").and_then(Item::as_array_mut) else { return };
    array.retain(|name| {
        name.as_str().is_some_and(|name| state.interfaces.iter().any(|kept| kept == name))
    });
    for name in state.interfaces.iter().filter(|name| !now.interfaces.contains(name)) {
        array.push(name.as_str());
    }
}

impl<'d> Rows<'d> {
    /// The rows under a key; made if there are none, inline if what is above them is.
    fn of(table: &'d mut dyn TableLike, key: &str, inline: bool) -> Option<Self> {
        let is_empty = |item: &Item| item.as_array().is_some_and(Array::is_empty);
        if !inline && table.get(key).is_none_or(is_empty) {
            table.insert(key, Item::ArrayOfTables(ArrayOfTables::new()));
        }
        let empty = Item::Value(Value::Array(Array::new()));
        match table.entry(key).or_insert(empty) {
            Item::ArrayOfTables(tables) => Some(Self::Headed(tables)),
            Item::Value(Value::Array(array)) => Some(Self::Inline(array)),
            // No file that can be read has such an item here.
            Item::None | Item::Value(_) | Item::Table(_) => None,
        }
    }

    fn table(&mut self, i: usize) -> Option<&mut dyn TableLike> {
        match self {
            Self::Headed(tables) => tables.get_mut(i).map(|table| -> &mut dyn TableLike { table }),
            Self::Inline(array) => {
                let table = array.get_mut(i).and_then(Value::as_inline_table_mut);
                table.map(|table| -> &mut dyn TableLike { table })
            }
        }
    }

    fn remove(&mut self, i: usize) {
        match self {
            Self::Headed(tables) => {
                tables.remove(i);
            }
            Self::Inline(array) => {
                array.remove(i);
            }
        }
    }

    fn push(&mut self, table: Table) {
        match self {
            Self::Headed(tables) => tables.push(table),
            Self::Inline(array) => array.push(table.into_inline_table()),
        }
    }
}

#[cfg(test)]
mod tests;
