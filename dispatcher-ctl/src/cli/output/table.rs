//! Plain tables: a heading, columns two blanks apart, no borders.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, presets};

use super::{Style, clean};

/// A column: its heading and the alignment of its values.
pub(super) type Column = (&'static str, CellAlignment);

/// How a cell looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Like any text.
    Plain,
    /// Emphasised.
    Bold,
    /// As it should be.
    Good,
    /// Unusual, but intended.
    Odd,
    /// Wrong.
    Bad,
}

/// A table being built.
pub(super) struct Table(comfy_table::Table);

/// A column of text.
pub(super) const fn text(heading: &'static str) -> Column {
    (heading, CellAlignment::Left)
}

/// A column of numbers.
pub(super) const fn number(heading: &'static str) -> Column {
    (heading, CellAlignment::Right)
}

impl Table {
    /// An empty table.
    pub(super) fn new(columns: &[Column], style: &Style) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|(heading, side)| {
                Cell::new(heading).add_attribute(Attribute::Dim).set_alignment(*side)
            }));
        if style.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for (column, (_, side)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2)).set_cell_alignment(*side);
        }
        Self(table)
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (String, Paint)>) {
        self.0.add_row(cells.into_iter().map(|(text, paint)| {
            let cell = Cell::new(clean(&text));
            match paint {
                Paint::Plain => cell,
                Paint::Bold => cell.add_attribute(Attribute::Bold),
                Paint::Good => cell.fg(Color::Green),
                Paint::Odd => cell.fg(Color::Yellow),
                Paint::Bad => cell.fg(Color::Red),
            }
        }));
    }

    /// Its text, without trailing blanks.
    pub(super) fn render(&self) -> String {
        self.0.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// A plain cell.
pub(super) fn plain(value: impl ToString) -> (String, Paint) {
    (value.to_string(), Paint::Plain)
}

/// A cell with a number; 0 is shown as `-`.
pub(super) fn nonzero(n: u64, written: impl FnOnce(u64) -> String) -> (String, Paint) {
    plain(if n == 0 { "-".to_owned() } else { written(n) })
}
