//! Line ends and the byte order mark of a file that was rewritten: as they were.

use similar::{Algorithm, DiffOp, capture_diff_slices};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A rewritten text with the line ends of the text before: each line that stays or is changed keeps its own, a new one ends as
/// the line before it.
pub(super) fn as_before(before: &str, rewritten: &str) -> String {
    let bare = before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before);
    let mark = before.starts_with(BYTE_ORDER_MARK).then_some(BYTE_ORDER_MARK);
    let rewritten = rewritten.strip_prefix(BYTE_ORDER_MARK).unwrap_or(rewritten);
    let mut text: String = mark.into_iter().collect();
    if !bare.contains("\r\n") {
        return text + rewritten;
    }
    let (old, ends): (Vec<_>, Vec<_>) = bare.split_inclusive('\n').map(line).unzip();
    let new: Vec<_> = rewritten.split_inclusive('\n').map(line).collect();
    let lines: Vec<_> = new.iter().map(|(line, _)| *line).collect();
    let mut ends_of_new = vec![None; new.len()];
    for change in capture_diff_slices(Algorithm::Myers, &old, &lines) {
        for (from, to) in kept(change) {
            ends_of_new[to] = ends.get(from).copied();
        }
    }
    let mut last = ends.first().copied().unwrap_or("\n");
    for ((line, end), kept) in new.into_iter().zip(ends_of_new) {
        // The last line of a file may have no end.
        last = kept.filter(|end| !end.is_empty()).unwrap_or(last);
        text.push_str(line);
        text.push_str(if end.is_empty() { "" } else { last });
    }
    text
}

/// Lines of both texts that are one and the same, changed or not.
fn kept(change: DiffOp) -> impl Iterator<Item = (usize, usize)> {
    let (old, new) = (change.old_range(), change.new_range());
    old.zip(new)
}

/// A line and its end.
fn line(whole: &str) -> (&str, &str) {
    for end in ["\r\n", "\n"] {
        if let Some(line) = whole.strip_suffix(end) {
            return (line, &whole[line.len()..]);
        }
    }
    (whole, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_ends() {
        for (before, rewritten, want) in [
            ("a\nb\n", "a\nc\n", "a\nc\n"),
            ("a\r\nb\r\n", "a\nc\n", "a\r\nc\r\n"),
            ("a\r\nb", "a\nc\nd\n", "a\r\nc\r\nd\r\n"),
            ("a\r\nb", "a\nc", "a\r\nc"),
            ("a\nb\r\nc\nd\r\n", "a\nB\nc\nnew\nd\n", "a\nB\r\nc\nnew\nd\r\n"),
            ("a\nb\r\nc\n", "a\nc\n", "a\nc\n"),
            ("\u{feff}a\nb\n", "a\nc\n", "\u{feff}a\nc\n"),
            ("\u{feff}a\r\nb\r\n", "\u{feff}a\nc\n", "\u{feff}a\r\nc\r\n"),
        ] {
            assert_eq!(as_before(before, rewritten), want, "{before:?}");
        }
    }
}
