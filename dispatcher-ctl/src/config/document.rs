//! A spanned document, read table by table: what has the wrong shape is reported and read on past.

use std::{
    collections::{HashMap, HashSet},
    ops::{Range, RangeInclusive},
    str::FromStr,
    time::Duration,
};

use toml_edit::{Item, TableLike};

use super::{
    ConfigError, ConfigErrors, Place,
    check::{self, Problem},
    keys::Keys,
};
use crate::model::Choice;

/// What the reading of one file has found.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    /// Errors, by offset in the text.
    errors: Vec<(usize, ConfigError)>,
    /// Where each value that was asked for stands, by path.
    spans: HashMap<String, Range<usize>>,
    /// Paths of which something was reported: what follows from them is not.
    wrong: HashSet<String>,
}

/// One table of the document.
pub(super) struct Section<'d, 'a> {
    document: &'d mut Document<'a>,
    table: &'a dyn TableLike,
    keys: &'static Keys,
    path: String,
    /// What messages call it (`service web`); empty at the top.
    pub(super) object: String,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, errors: Vec::new(), spans: HashMap::new(), wrong: HashSet::new() }
    }

    /// Opens a table; `span` is where it is said to stand.
    pub(super) fn section<'d>(
        &'d mut self,
        table: &'a dyn TableLike,
        keys: &'static Keys,
        path: String,
        object: String,
    ) -> Section<'d, 'a> {
        Section { document: self, table, keys, path, object }
    }

    /// Notes where a value stands.
    pub(super) fn place(&mut self, path: &str, span: Option<Range<usize>>) {
        if let Some(span) = span {
            self.spans.insert(path.to_owned(), span);
        }
    }

    /// Reports what a check of the whole found, unless it follows from what was reported already.
    pub(super) fn problem(&mut self, problem: Problem) {
        let Problem { error, mut causes } = problem;
        causes.push(error.path.clone());
        if !causes.iter().any(|path| self.wrong.contains(path)) {
            self.report(self.offset(&error.path), error);
        }
    }

    /// Reports an error at an offset.
    pub(super) fn report(&mut self, offset: usize, mut error: ConfigError) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        error.place = Some(Place {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        });
        self.wrong.insert(error.path.clone());
        self.errors.push((offset, error));
    }

    /// The end: nothing, or all errors.
    pub(super) fn finish(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.into_errors()) }
    }

    /// All errors, in the order of the text.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.errors.sort_by_key(|(offset, _)| *offset);
        ConfigErrors(self.errors.into_iter().map(|(_, error)| error).collect())
    }

    /// Where a path stands, or the nearest of its parents that is known.
    fn offset(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return span.start;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return 0,
            }
        }
    }

    /// A value as it is written, shortened.
    fn written(&self, item: &Item) -> String {
        const LONGEST: usize = 60;
        let text = item.span().and_then(|span| self.text.get(span)).unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(LONGEST) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text,
        }
    }
}

impl<'a> Section<'_, 'a> {
    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The document, for tables below this one.
    pub(super) fn document(&mut self) -> &mut Document<'a> {
        self.document
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&mut self, key: &str) -> Option<&'a Item> {
        debug_assert!(self.keys.known.contains(&key), "{key} is read, but not listed");
        let (name, item) = self.table.get_key_value(key)?;
        self.document.place(&self.path(key), item.span().or_else(|| name.span()));
        Some(item)
    }

    /// Reports a key that must be there and is not.
    pub(super) fn require(&mut self, key: &str, expected: &str) {
        if !self.table.contains_key(key) {
            self.wrong(key, format!("{key} is missing, expected {expected}"), None);
        }
    }

    /// A text, as `parse` understands it; `expected` says what that is.
    pub(super) fn text<T>(
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
            self.wrong(key, format!("{key} {text:?} is not {expected}"), None);
        }
        value
    }

    /// A text that [`FromStr`] understands.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.text(key, expected, |text| text.parse().ok())
    }

    /// A duration, such as `"300s"`. Whether it makes sense is checked later.
    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
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
    pub(super) fn choice<T: Choice>(&mut self, key: &str, later: &[&str]) -> Option<T> {
        let expected = T::words();
        let word = self.text(key, &format!("a text: {expected}"), |text| Some(text.to_owned()))?;
        let value = T::from_word(&word);
        if value.is_none() {
            let complaint = match later.contains(&word.as_str()) {
                true => "is not supported in this version",
                false => "is unknown",
            };
            self.wrong(key, format!("{key} {word:?} {complaint}, expected {expected}"), None);
        }
        value
    }

    /// A whole number within a range; `expected` is the range as a message says it.
    pub(super) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        range: RangeInclusive<i64>,
        expected: &str,
    ) -> Option<T> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            let bare = item.as_str().filter(|text| text.parse::<i64>().is_ok());
            let expected = format!("a whole number {expected}");
            self.mistyped(key, item, &expected, bare.map(|text| format!("{key} = {text}")));
            return None;
        };
        let value = Some(number).filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        if value.is_none() {
            let written = self.document.written(item);
            let message = format!("{key} {written} is out of range, expected {expected}");
            self.wrong(key, message, None);
        }
        value
    }

    /// A number, whole or not. Whether it makes sense is checked later.
    pub(super) fn number(&mut self, key: &str) -> Option<f64> {
        let item = self.item(key)?;
        let whole = item.as_integer().and_then(|n| i32::try_from(n).ok()).map(f64::from);
        let value = item.as_float().or(whole).filter(|value| value.is_finite());
        if value.is_none() {
            let bare = item.as_str().filter(|text| text.parse::<f64>().is_ok());
            self.mistyped(key, item, "a number", bare.map(|text| format!("{key} = {text}")));
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        let item = self.item(key)?;
        let value = item.as_bool();
        if value.is_none() {
            let bare = item.as_str().filter(|text| matches!(*text, "true" | "false"));
            self.mistyped(key, item, "true or false", bare.map(|t| format!("{key} = {t}")));
        }
        value
    }

    /// An array of texts; each is noted under its own path.
    pub(super) fn texts(&mut self, key: &str, expected: &str) -> Option<Vec<String>> {
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
            // What is no text keeps its place, so that those after it keep theirs.
            texts.push(value.as_str().unwrap_or_default().to_owned());
        }
        Some(texts)
    }

    /// A table, such as `[connections]`.
    pub(super) fn table(&mut self, key: &str) -> Option<&'a dyn TableLike> {
        let item = self.item(key)?;
        let table = item.as_table_like();
        if table.is_none() {
            let expected = format!("a table: [{}]", self.path(key));
            self.mistyped(key, item, &expected, None);
        }
        table
    }

    /// An array of tables, such as `[[service]]`; each is noted under its own path.
    pub(super) fn tables(&mut self, key: &str) -> Vec<&'a dyn TableLike> {
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

    /// Reports every key that nobody asks for.
    pub(super) fn close(self) {
        for (key, item) in self.table.iter() {
            if self.keys.known.contains(&key) {
                continue;
            }
            let (message, hint) = match self.keys.later.contains(&key) {
                true => (format!("{key} is not supported in this version"), None),
                false => (format!("key {key:?} is unknown"), self.keys.hint(key)),
            };
            let span = self.table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
            let path = self.path(&check::shown(key));
            let error = ConfigError { hint, ..ConfigError::new(&path, self.about(&message)) };
            self.document.report(span.map_or(0, |span| span.start), error);
        }
    }

    /// Reports what is wrong with a key's value.
    pub(super) fn wrong(&mut self, key: &str, message: String, hint: Option<String>) {
        let path = self.path(key);
        let error = ConfigError { hint, ..ConfigError::new(&path, self.about(&message)) };
        let offset = self.document.offset(&path);
        self.document.report(offset, error);
    }

    /// Notes that nothing follows from a key's value, since a part of it is wrong.
    pub(super) fn spoil(&mut self, key: &str) {
        let path = self.path(key);
        self.document.wrong.insert(path);
    }

    fn mistyped(&mut self, key: &str, item: &Item, expected: &str, hint: Option<String>) {
        let (written, kind) = (self.document.written(item), kind(item.type_name()));
        let written = if item.is_value() { format!(" {written}") } else { String::new() };
        self.wrong(key, format!("{key}{written} is {kind}, expected {expected}"), hint);
    }

    fn about(&self, message: &str) -> String {
        if self.object.is_empty() {
            message.to_owned()
        } else {
            format!("{}: {message}", self.object)
        }
    }
}

/// A kind of value with its article.
fn kind(name: &str) -> String {
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
