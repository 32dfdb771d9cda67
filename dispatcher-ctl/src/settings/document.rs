//! A file that is being read: the places of its values, and its errors so far.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use toml_edit::Item;

use super::{
    error::{ConfigError, ConfigErrors, MOST_LISTED, Place, Problem},
    keys::Keys,
    show::cut,
};

/// A file that is being read, and its errors so far.
pub(crate) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    /// The keys of all tables that the file may have, in the order in which a misplaced key is looked for.
    pub(super) tables: &'a [&'static Keys],
    /// The first errors of the text, by offset; those at the same offset in the order in which they were found.
    errors: BTreeMap<(usize, usize), ConfigError>,
    /// How many errors there are.
    count: usize,
    /// The place of each value that was read, by path.
    spans: HashMap<String, Range<usize>>,
    /// Paths of values with an error: errors that follow from them are not reported.
    wrong: HashSet<String>,
}

impl<'a> Document<'a> {
    /// A file of which nothing was read yet.
    pub(crate) fn new(file: &'a str, text: &'a str, tables: &'a [&'static Keys]) -> Self {
        Self {
            tables,
            file,
            text,
            errors: BTreeMap::new(),
            count: 0,
            spans: HashMap::new(),
            wrong: HashSet::new(),
        }
    }

    /// Notes the place of a value.
    pub(crate) fn place(&mut self, path: &str, span: Option<Range<usize>>) {
        if let Some(span) = span {
            self.spans.insert(path.to_owned(), span);
        }
    }

    /// Reports what a check of the whole found, unless it follows from what was reported already.
    pub(crate) fn problem(&mut self, problem: Problem) {
        let Problem { error, mut causes } = problem;
        causes.push(error.path.clone());
        if !causes.iter().any(|path| self.wrong.contains(path)) {
            let offset = self.offset(&error.path);
            self.spoil(&error.path);
            self.report(offset, || error);
        }
    }

    /// Notes that something was reported of a path.
    pub(super) fn spoil(&mut self, path: &str) {
        if let Some((array, key)) = path.rsplit_once("].")
            && let Some((array, _)) = array.rsplit_once('[')
        {
            self.wrong.insert(format!("{array}[*].{key}"));
        }
        self.wrong.insert(path.to_owned());
    }

    /// Reports an error at an offset. It is only put into words if it is one of those that are listed.
    pub(crate) fn report(&mut self, offset: usize, error: impl FnOnce() -> ConfigError) {
        let at = (offset, self.count);
        self.count += 1;
        if self.errors.len() == MOST_LISTED {
            if self.errors.last_key_value().is_some_and(|(last, _)| *last < at) {
                return;
            }
            self.errors.pop_last();
        }
        self.errors.insert(at, error());
    }

    /// The end: nothing, or all errors.
    pub(crate) fn finish(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.into_errors()) }
    }

    /// All errors, in the order of the text.
    pub(crate) fn into_errors(self) -> ConfigErrors {
        let lines = Lines::new(self.text);
        let placed = |((offset, _), error)| {
            let (line, column) = lines.place(offset);
            let place = Place { file: self.file.to_owned(), line, column };
            ConfigError { place: Some(place), ..error }
        };
        let more = self.count - self.errors.len();
        ConfigErrors::new(self.errors.into_iter().map(placed).collect(), more)
    }

    /// The offset of a path, or of the nearest known parent.
    pub(super) fn offset(&self, path: &str) -> usize {
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

    /// A value as the file has it, shortened.
    pub(super) fn written(&self, item: &Item) -> String {
        let text = item.span().and_then(|span| self.text.get(span)).unwrap_or_default();
        cut(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
    }
}

/// Where a text's lines begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let behind = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { text, starts: std::iter::once(0).chain(behind).collect() }
    }

    /// Line and column of an offset, from 1.
    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}
