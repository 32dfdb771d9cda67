//! The table of an object: one row per setting. A whole table can be read, compared and merged.

use std::time::Duration;

use toml_edit::{InlineTable, Value as Toml};

use super::{bounds::Bounds, keys::Keys, section::Section, spec::Spec, value::Required};

/// An object whose settings are declared by [`settings!`](super::settings).
pub(crate) trait Table: Sized + 'static {
    /// Its settings, in the order in which they are written.
    const ROWS: &'static [Row<Self>];
    /// How many of them, from the first, have no default.
    const PRESET: usize;
    /// Its keys in the file.
    const KEYS: &'static Keys;
}

/// One setting of an object.
#[cfg_attr(not(test), expect(dead_code, reason = "the reference page is made by a test"))]
pub(crate) struct Row<T> {
    /// Its key, in the file and on the API.
    pub(crate) key: &'static str,
    /// Its description: the doc comment of the field, line by line.
    pub(crate) doc: &'static [&'static str],
    /// What documentation calls its type.
    pub(crate) kind: fn() -> String,
    /// Its other properties, for reader, writer, check and documentation.
    pub(crate) spec: Spec,
    /// Reads it, if the file has it.
    pub(crate) read: fn(&mut Section<'_, '_>, &Spec, &mut T),
    /// Its value as it is written to the file; none: the key is left out.
    pub(crate) written: fn(&T, &Spec) -> Option<Toml>,
    /// Its value as a plan shows it.
    pub(crate) text: fn(&T) -> String,
    /// Its number, of a duration in seconds; none: it is no number, or not set.
    pub(crate) number: fn(&T) -> Option<f64>,
    /// Whether it is the same in both.
    pub(crate) is_same: fn(&T, &T) -> bool,
    /// Copies it from the first to the second.
    pub(crate) copy: fn(&T, &mut T),
}

/// Reads a setting of `T` that has no default.
pub(crate) fn read_required<T: Table, V: Required>(
    s: &mut Section<'_, '_>,
    key: &'static str,
) -> V {
    let spec = T::ROWS.iter().find(|row| row.key == key).map_or(Spec::NEW, |row| row.spec);
    s.require(key, &V::needed(&spec));
    V::read(s, key, &spec).unwrap_or_else(V::placeholder)
}

/// The bounds of the setting of `T` that has this key.
pub(crate) fn bounds_of<T: Table>(key: &str) -> Option<Bounds> {
    T::ROWS.iter().find(|row| row.key == key)?.spec.bounds
}

/// Reads the settings of a table that have defaults, but for some.
pub(crate) fn read_rest<T: Table>(s: &mut Section<'_, '_>, to: &mut T, except: &[&str]) {
    let rows = T::ROWS[T::PRESET..].iter().filter(|row| !except.contains(&row.key));
    rows.for_each(|row| row.read_to(s, to));
}

/// The settings of an object on one line, those that the file has.
pub(crate) fn inline<T: Table>(
    of: &T,
    rows: impl IntoIterator<Item = &'static Row<T>>,
) -> InlineTable {
    let written = rows.into_iter().filter_map(|row| Some((row.key, (row.written)(of, &row.spec)?)));
    written.collect()
}

/// As [`inline()`], without the settings whose keys are left out at their default.
pub(crate) fn inline_but<T: Table>(of: &T, default: &T) -> InlineTable {
    let is_said = |row: &&Row<T>| !(row.spec.is_left_out && (row.is_same)(of, default));
    inline(of, T::ROWS.iter().filter(is_said))
}

impl<T> Row<T> {
    /// Its default in this object, as documentation has it.
    pub(crate) fn default(&self, object: &T) -> String {
        let written = || match (self.written)(object, &self.spec) {
            Some(value) => format!("`{value}`"),
            None => "none".to_owned(),
        };
        self.spec.default.map_or_else(written, ToOwned::to_owned)
    }

    /// Its valid values, as documentation has them; `time` is how a duration is written.
    pub(crate) fn valid(&self, time: fn(Duration) -> String) -> String {
        match self.spec.bounds {
            Some(bounds) => self.spec.explained(bounds.text(time)),
            None => self.spec.may_be.to_owned(),
        }
    }

    /// Reads it, if the file has it.
    pub(crate) fn read_to(&self, s: &mut Section<'_, '_>, to: &mut T) {
        if let Some(expected) = self.spec.required {
            s.require(self.key, expected);
        }
        (self.read)(s, &self.spec, to);
    }

    /// The message for its value, if that is out of bounds.
    pub(crate) fn complaint(&self, of: &T) -> Option<String> {
        self.spec.bounds?;
        let complaint = self.spec.complaint((self.number)(of)?)?;
        Some(format!("{} {} {complaint}", self.key, (self.text)(of)))
    }
}

/// Reads the table below a key, if it is there, over the defaults.
pub(crate) fn read_over_default<T: Table + Default>(
    s: &mut Section<'_, '_>,
    key: &'static str,
) -> Option<T> {
    read_table(s, key, T::KEYS, |s| {
        let mut object = T::default();
        read_rest(s, &mut object, &[]);
        object
    })
}

/// Reads the table below a key, if it is there. `read` reads its settings.
pub(crate) fn read_table<'a, T: Table>(
    s: &mut Section<'_, 'a>,
    key: &str,
    keys: &'static Keys,
    read: impl FnOnce(&mut Section<'_, 'a>) -> T,
) -> Option<T> {
    let table = s.table(key)?;
    let path = s.path(key);
    let object = if s.object.is_empty() { key.to_owned() } else { s.object.clone() };
    let mut below = Section::new(s.document(), table, keys, path, object);
    let value = read(&mut below);
    below.close();
    Some(value)
}

/// The settings of an object that differ from another, as a plan shows them: row, value before, value after.
pub(crate) fn changes<'t, T: Table>(
    before: &'t T,
    after: &'t T,
) -> impl Iterator<Item = (&'static Row<T>, String, String)> + 't {
    let differs = |row: &&'static Row<T>| !(row.is_same)(before, after);
    T::ROWS.iter().filter(differs).map(|row| (row, (row.text)(before), (row.text)(after)))
}

/// What should run: the file's settings where the file changed them since it was last applied, else those that run.
pub(crate) fn merged<T: Table + Clone>(applied: Option<&T>, file: &T, running: &T) -> T {
    let mut merged = file.clone();
    let Some(applied) = applied else { return merged };
    for row in T::ROWS.iter().filter(|row| (row.is_same)(applied, file)) {
        (row.copy)(running, &mut merged);
    }
    merged
}

/// Implements [`Value`](super::value::Value) and [`Default`] for a table of settings that all have defaults: parts that are left out, and a table that is the default,
/// are not written.
macro_rules! tables {
    ($($type:ty),+) => {$(
        impl Default for $type {
            fn default() -> Self {
                Self::new()
            }
        }

        impl $crate::settings::help::Typical for $type {
            fn typical() -> Self {
                Self::new()
            }
        }

        impl $crate::settings::value::Value for $type {
            fn kind() -> String {
                "table".to_owned()
            }

            fn read(
                s: &mut $crate::settings::section::Section<'_, '_>,
                key: &'static str,
                _spec: &$crate::settings::spec::Spec,
            ) -> Option<Self> {
                $crate::settings::row::read_over_default(s, key)
            }

            fn written(&self, _spec: &$crate::settings::spec::Spec) -> Option<toml_edit::Value> {
                let default = Self::default();
                (*self != default).then(|| $crate::settings::row::inline_but(self, &default).into())
            }

            fn text(&self) -> String {
                use $crate::settings::row::{Table as _, inline};
                inline(self, Self::ROWS).to_string()
            }
        }
    )+};
}

pub(crate) use tables;
