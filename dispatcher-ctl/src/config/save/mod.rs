//! Writes what runs to the configuration file: only values that differ change, comments and layout stay.
//!
//! What a value means may depend on another (`weight` on `weight_bound`, `stale_timeout` on protocol and port), so the file is
//! edited, read again, and edited again until it describes what runs. A file that does not is never returned.

use std::collections::HashMap;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value};

use super::{ConfigError, ConfigErrors, parse};
use crate::{
    model::{BackendConfig, Config, Manager, Outline, RuleConfig, ServiceSettings, State},
    settings::row::{Row, Table as SettingsTable},
};

mod lines;

/// The most edits: one, one more for what follows from the first, and a last comparison.
const ROUNDS: usize = 3;

/// A configuration file that describes what runs.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its text.
    pub text: String,
    /// The configuration that it describes.
    pub config: Config,
}

impl Saved {
    /// Whether it still describes what runs; the order does not matter.
    #[must_use]
    pub fn says(&self, state: &State) -> bool {
        says(&self.config, state, &wanted(state))
    }
}

/// The text of the configuration file, rewritten to say what runs. Line ends stay as they are. Services, backends and NICs keep
/// their order in the file; new ones come last. The file cannot say quiesced and down: these are not written.
///
/// # Errors
/// The file is broken, or was edited since it was applied: the edits must not be overwritten.
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
    ConfigError::new("", format!("{file_name} cannot be changed to match the running state"))
}

/// Whether a configuration describes what runs; the order does not matter.
fn says(config: &Config, state: &State, wanted: &[Outline<'_>]) -> bool {
    let same_nics = config.interfaces.len() == state.interfaces.len()
        && config.interfaces.iter().all(|name| state.interfaces.contains(name));
    same_nics && config.manager == state.manager && same(&described(config), wanted)
}

/// An object with a name and settings that is written as a table.
trait Object: Sized {
    /// What holds its settings.
    type Settings: SettingsTable + PartialEq;

    /// Its name, unique in its array.
    fn name(&self) -> &str;
    /// Its settings.
    fn settings(&self) -> &Self::Settings;
    /// Its settings, with the default of each that has one.
    fn bare(&self) -> Self::Settings;
    /// Whether it means the same as another of the same name.
    fn is(&self, other: &Self) -> bool {
        self.settings() == other.settings()
    }
    /// Rewrites the tables below it; `now` is what they describe now.
    fn below(&self, _table: &mut dyn TableLike, _now: Option<&Self>, _inline: bool) {}
}

impl Object for Outline<'_> {
    type Settings = ServiceSettings;

    fn name(&self) -> &str {
        &self.settings.name
    }

    fn settings(&self) -> &ServiceSettings {
        self.settings
    }

    fn bare(&self) -> ServiceSettings {
        let of = self.settings;
        ServiceSettings::new(of.name.clone(), of.vip, of.port, of.protocol)
    }

    fn is(&self, other: &Self) -> bool {
        self.settings == other.settings
            && same(&self.backends, &other.backends)
            && same(&self.rules, &other.rules)
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
}

impl Object for &BackendConfig {
    type Settings = BackendConfig;

    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &BackendConfig {
        self
    }

    fn bare(&self) -> BackendConfig {
        BackendConfig::new(self.name.clone(), self.address, self.weight)
    }
}

impl Object for &RuleConfig {
    type Settings = RuleConfig;

    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &RuleConfig {
        self
    }

    fn bare(&self) -> RuleConfig {
        RuleConfig::new(self.name.clone(), self.priority, self.backends.clone())
    }
}

/// Each setting as it is written; none: the key is removed.
fn written<T: Object>(object: &T) -> impl Iterator<Item = (&'static str, Option<Value>)> {
    let (of, bare) = (object.settings(), object.bare());
    let is_left_out =
        move |row: &Row<T::Settings>| row.spec.is_left_out && (row.is_same)(of, &bare);
    T::Settings::ROWS.iter().map(move |row| {
        (row.key, if is_left_out(row) { None } else { (row.written)(of, &row.spec) })
    })
}

/// The settings that a new table needs.
fn needed<T: Object>(object: &T) -> impl Iterator<Item = (&'static str, Option<Value>)> {
    let (of, bare) = (object.settings(), object.bare());
    let is_needed = move |i: usize, row: &Row<T::Settings>| {
        i < T::Settings::PRESET || row.spec.is_always_written || !(row.is_same)(of, &bare)
    };
    let rows = T::Settings::ROWS.iter().enumerate().filter(move |(i, row)| is_needed(*i, row));
    rows.map(move |(_, row)| (row.key, (row.written)(of, &row.spec)))
}

/// The manager's settings, in its own table.
fn manager(document: &mut DocumentMut, now: &Manager, wanted: &Manager) {
    for row in Manager::ROWS.iter().filter(|row| !(row.is_same)(now, wanted)) {
        let table = document.entry("manager").or_insert(Item::Table(Table::new()));
        if let Some(table) = table.as_table_like_mut() {
            set(table, row.key, (row.written)(wanted, &row.spec));
        }
    }
}

/// Whether rows mean the same as others; the order does not matter.
fn same<T: Object>(these: &[T], those: &[T]) -> bool {
    if these.len() != those.len() {
        return false;
    }
    // Mostly they have the same order.
    if these.iter().zip(those).all(|(this, that)| this.name() == that.name()) {
        return these.iter().zip(those).all(|(this, that)| this.is(that));
    }
    let those = by_name(those);
    these.iter().all(|this| those.get(this.name()).is_some_and(|that| this.is(that)))
}

fn by_name<T: Object>(rows: &[T]) -> HashMap<&str, &T> {
    rows.iter().map(|row| (row.name(), row)).collect()
}

/// An array of tables, as it is written: under headings or inline.
enum Rows<'d> {
    Headed(&'d mut ArrayOfTables),
    Inline(&'d mut Array),
}

/// Rewrites the array of tables under a key, which describes `now`, to describe `wanted`.
fn rewrite<T: Object>(table: &mut dyn TableLike, key: &str, now: &[T], wanted: &[T], inline: bool) {
    let Some(mut rows) = Rows::of(table, key, inline) else { return };
    let inline = matches!(rows, Rows::Inline(_));
    let (kept, former) = (by_name(wanted), by_name(now));
    for (i, row) in now.iter().enumerate().rev() {
        match (kept.get(row.name()), rows.table(i)) {
            (Some(&wanted), Some(table)) if !row.is(wanted) => {
                write_differing(table, row, wanted);
                wanted.below(table, Some(row), inline);
            }
            (None, _) => rows.remove(i),
            (Some(_), _) => {}
        }
    }
    for row in wanted.iter().filter(|row| !former.contains_key(row.name())) {
        let mut table = Table::new();
        for (key, value) in needed(row) {
            set(&mut table, key, value);
        }
        row.below(&mut table, None, inline);
        rows.push(table);
    }
}

/// Writes the settings that differ.
fn write_differing<T: Object>(table: &mut dyn TableLike, now: &T, wanted: &T) {
    let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
    for ((key, before), (_, after)) in written(now).zip(written(wanted)) {
        if text(&before) != text(&after) {
            set(table, key, after);
        }
    }
}

/// Replaces a value, adds it after the last, or removes it.
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
            // No valid file has such an item here.
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
