//! One table of a document, read key by key: a value of the wrong shape is reported, and reading continues.

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

use toml_edit::{Item, TableLike};

use super::{
    bounds::Bounds,
    document::Document,
    error::ConfigError,
    keys::Keys,
    show::{quoted, shown},
    spec::Spec,
};
use crate::values::Choice;

/// One table of the document.
pub(crate) struct Section<'d, 'a> {
    document: &'d mut Document<'a>,
    table: &'a dyn TableLike,
    keys: &'static Keys,
    path: String,
    /// What messages call it (`service web`); empty at the top.
    pub(crate) object: String,
}

impl<'d, 'a> Section<'d, 'a> {
    /// Opens a table of the document at a path; `object` is what messages call it.
    pub(crate) fn new(
        document: &'d mut Document<'a>,
        table: &'a dyn TableLike,
        keys: &'static Keys,
        path: String,
        object: String,
    ) -> Self {
        Self { document, table, keys, path, object }
    }

    /// The path of a key.
    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The document, for tables below this one.
    pub(crate) fn document(&mut self) -> &mut Document<'a> {
        self.document
    }

    /// The value of a key, if it is there.
    pub(crate) fn item(&mut self, key: &str) -> Option<&'a Item> {
        debug_assert!(self.keys.known.contains(&key), "{key} is read, but not listed");
        let (name, item) = self.table.get_key_value(key)?;
        self.document.place(&self.path(key), item.span().or_else(|| name.span()));
        Some(item)
    }

    /// Reports a key that must be there and is not.
    pub(crate) fn require(&mut self, key: &str, expected: &str) {
        if !self.table.contains_key(key) {
            self.wrong(key, format!("{key} is missing, expected {expected}"), None);
        }
    }

    /// A text that `parse` reads; `expected` names what it reads.
    pub(crate) fn text<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let item = self.item(key)?;
        let Some(text) = item.as_str() else {
            let quoted = match item.as_integer().is_some() || item.as_float().is_some() {
                true => Some(format!("{key} = \"{}\"", self.document.written(item))),
                false => None,
            };
            self.mistyped(key, item, expected, quoted);
            return None;
        };
        let value = parse(text);
        if value.is_none() {
            self.wrong(key, format!("{key} {} is not {expected}", quoted(text)), None);
        }
        value
    }

    /// A text that [`FromStr`] understands.
    pub(crate) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.text(key, expected, |text| text.parse().ok())
    }

    /// A duration, such as `"300s"`. Whether it makes sense is checked later.
    pub(crate) fn duration(&mut self, key: &str) -> Option<Duration> {
        let parse = |text: &str| humantime::parse_duration(text).ok();
        let bare = self.table.get(key).and_then(Item::as_integer);
        if let Some(seconds) = bare {
            self.item(key);
            let message = format!("{key} {seconds} has no unit, expected a duration");
            self.wrong(key, message, Some(format!("{key} = \"{seconds}s\"")));
            return None;
        }
        self.text(key, "a duration such as \"30s\"", parse)
    }

    /// One of a few words; `later` are those of a later version.
    pub(crate) fn choice<T: Choice>(&mut self, key: &str, later: &[&str]) -> Option<T> {
        let expected = T::words();
        let word = self.text(key, &format!("a text: {expected}"), |text| Some(text.to_owned()))?;
        let value = T::from_word(&word);
        if value.is_none() {
            let complaint = match later.contains(&word.as_str()) {
                true => "is not supported in this version",
                false => "is unknown",
            };
            let word = quoted(&word);
            self.wrong(key, format!("{key} {word} {complaint}, expected {expected}"), None);
        }
        value
    }

    /// A whole number within the bounds of its setting.
    pub(crate) fn integer<T: TryFrom<i64>>(&mut self, key: &str, spec: &Spec) -> Option<T> {
        let (least, greatest) = spec.bounds.map_or((0, i64::MAX), Bounds::whole);
        self.integer_within(key, least..=greatest, || spec.expectation())
    }

    /// A whole number within a range; `expected` yields the range as a message has it.
    pub(crate) fn integer_within<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        range: RangeInclusive<i64>,
        expected: impl Fn() -> String,
    ) -> Option<T> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            let bare = item.as_str().filter(|text| text.parse::<i64>().is_ok());
            let expected = format!("a whole number {}", expected());
            self.mistyped(key, item, &expected, bare.map(|text| format!("{key} = {text}")));
            return None;
        };
        let value = Some(number).filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        if value.is_none() {
            let written = self.document.written(item);
            let message = format!("{key} {written} is out of range, expected {}", expected());
            self.wrong(key, message, None);
        }
        value
    }

    /// A number, whole or not. Whether it makes sense is checked later.
    pub(crate) fn number(&mut self, key: &str) -> Option<f64> {
        let item = self.item(key)?;
        let whole = item.as_integer().and_then(|n| i32::try_from(n).ok()).map(f64::from);
        let value = item.as_float().or(whole).filter(|value| value.is_finite());
        if value.is_none() {
            let bare = item.as_str().filter(|text| text.parse::<f64>().is_ok());
            let expected = if item.is_float() { "a finite number" } else { "a number" };
            self.mistyped(key, item, expected, bare.map(|text| format!("{key} = {text}")));
        }
        value
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
        let item = self.item(key)?;
        let value = item.as_bool();
        if value.is_none() {
            let bare = item.as_str().filter(|text| matches!(*text, "true" | "false"));
            self.mistyped(key, item, "true or false", bare.map(|t| format!("{key} = {t}")));
        }
        value
    }

    /// An array of texts; each is noted under its own path.
    pub(crate) fn texts(&mut self, key: &str, expected: &str) -> Option<Vec<String>> {
        let item = self.item(key)?;
        let Some(array) = item.as_array() else {
            let one = item.as_str().map(|text| format!("{key} = [{text:?}]"));
            self.mistyped(key, item, &format!("an array of {expected}"), one);
            return None;
        };
        let mut texts = Vec::new();
        for (i, value) in array.iter().enumerate() {
            let element = format!("{key}[{i}]");
            self.document.place(&self.path(&element), value.span());
            if value.as_str().is_none() {
                let kind = kind(value.type_name());
                self.wrong(&element, format!("{key} holds {kind}, expected {expected}"), None);
            }
            // A value that is no text keeps its place, so that those after it keep theirs.
            texts.push(value.as_str().unwrap_or_default().to_owned());
        }
        Some(texts)
    }

    /// The values of an array's texts, if all of them can be read; `expected` names them.
    pub(crate) fn each<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key, &format!("texts: {expected}"))?;
        let mut values = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            match parse(text) {
                Some(value) => values.push(value),
                // A value that is no text was reported, and is empty.
                None if text.is_empty() => {}
                None => {
                    let message = format!("{key} holds {text:?}, expected {expected}");
                    self.wrong(&format!("{key}[{i}]"), message, None);
                }
            }
        }
        if values.len() < texts.len() {
            self.spoil(key);
            return None;
        }
        Some(values)
    }

    /// An array of ports, if all of them are ports; `expected` names them.
    pub(crate) fn ports(&mut self, key: &str, expected: &str) -> Option<Vec<u16>> {
        let Some(array) = self.item(key)?.as_array() else {
            let message = format!("{key} is no array, expected {expected}");
            self.wrong(key, message, Some(format!("{key} = [443]")));
            return None;
        };
        let mut ports = Vec::new();
        for (i, value) in array.iter().enumerate() {
            let element = format!("{key}[{i}]");
            self.document.place(&self.path(&element), value.span());
            match value.as_integer().map(u16::try_from) {
                Some(Ok(port)) => ports.push(port),
                Some(Err(_)) | None => {
                    let written = value.to_string();
                    let written = written.trim();
                    let message = format!("{key} holds {written}, expected 0..=65535");
                    self.wrong(&element, message, None);
                }
            }
        }
        (ports.len() == array.len()).then_some(ports)
    }

    /// A table, such as `[connections]`.
    pub(crate) fn table(&mut self, key: &str) -> Option<&'a dyn TableLike> {
        let item = self.item(key)?;
        let table = item.as_table_like();
        if table.is_none() {
            let expected = format!("a table: [{}]", self.path(key));
            self.mistyped(key, item, &expected, None);
        }
        table
    }

    /// An array of tables, such as `[[service]]`; each is noted under its own path.
    pub(crate) fn tables(&mut self, key: &str) -> Vec<&'a dyn TableLike> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let mut tables: Vec<&'a dyn TableLike> = Vec::new();
        if let Some(array) = item.as_array_of_tables() {
            for table in array {
                let path = self.path(&format!("{key}[{}]", tables.len()));
                self.document.place(&path, table.span());
                tables.push(table);
            }
            return tables;
        }
        for value in item.as_array().into_iter().flatten() {
            let path = self.path(&format!("{key}[{}]", tables.len()));
            self.document.place(&path, value.span());
            if let Some(table) = value.as_inline_table() {
                tables.push(table);
            }
        }
        if item.as_array().is_none_or(|array| array.len() != tables.len()) {
            let heading = match self.path.is_empty() {
                true => format!("[[{key}]]"),
                false => format!("[[service.{key}]]"),
            };
            self.mistyped(key, item, &format!("tables headed {heading}"), None);
        }
        tables
    }

    /// Reports every unknown key.
    pub(crate) fn close(self) {
        for (key, item) in self.table.iter() {
            if self.keys.known.contains(&key) {
                continue;
            }
            let span = self.table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
            self.document.report(span.map_or(0, |span| span.start), || {
                let (message, hint) = match self.keys.later.contains(&key) {
                    true => (format!("{key} is not supported in this version"), None),
                    false => (
                        format!("key {} is unknown", quoted(key)),
                        self.keys.hint(key, self.document.tables),
                    ),
                };
                let path = join(&self.path, &shown(key));
                ConfigError { hint, ..ConfigError::new(path, about(&self.object, &message)) }
            });
        }
    }

    /// Reports an error of a key's value.
    pub(crate) fn wrong(&mut self, key: &str, message: String, hint: Option<String>) {
        let path = self.path(key);
        let offset = self.document.offset(&path);
        self.document.spoil(&path);
        let message = about(&self.object, &message);
        self.document.report(offset, || ConfigError { hint, ..ConfigError::new(path, message) });
    }

    /// Marks a key's value as wrong, since a part of it is: errors that follow from it are not reported.
    fn spoil(&mut self, key: &str) {
        let path = self.path(key);
        self.document.spoil(&path);
    }

    fn mistyped(&mut self, key: &str, item: &Item, expected: &str, hint: Option<String>) {
        let (written, kind) = (self.document.written(item), kind(item.type_name()));
        let written = if item.is_value() { format!(" {written}") } else { String::new() };
        self.wrong(key, format!("{key}{written} is {kind}, expected {expected}"), hint);
    }
}

/// The path of a key below another; at the top, that is empty.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A message with the object that it is about.
fn about(object: &str, message: &str) -> String {
    if object.is_empty() { message.to_owned() } else { format!("{object}: {message}") }
}

/// A kind of value with its article, as in `an integer`.
fn kind(name: &str) -> String {
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
