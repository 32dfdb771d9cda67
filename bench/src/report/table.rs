//! A Markdown table with aligned columns, so that it also reads well on a terminal.

/// The table: the columns' names, and rows with one cell for each column. The first column is text, the others are figures.
#[must_use]
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let cells = std::array::from_fn::<_, N, _>(|column| {
            let (cell, width) = (cells[column], widths[column]);
            if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", cells.join(" | "))
    };
    let rules = widths.map(|width| "-".repeat(width));
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    [line(head), line(rules.each_ref().map(String::as_str))].into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned() {
        let text = super::table(["case", "ns"], &[["hit".into(), "50.0".into()]]);
        assert_eq!(text, "| case |   ns |\n| ---- | ---- |\n| hit  | 50.0 |\n");
    }
}
