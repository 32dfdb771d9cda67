//! Makes foreign text, such as a server's greeting or a script's output, safe for logs and tables.

/// Characters of such a text that are shown at most.
pub const LONGEST: usize = 200;

/// The text with an escape in place of each character that a terminal acts on or that misleads a reader.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`escaped`], cut to [`LONGEST`] characters; the last is then an ellipsis.
#[must_use]
pub fn shortened(text: &str) -> String {
    // An escape is never shorter than its character: later characters cannot be shown.
    let begun: String = text.chars().take(LONGEST + 1).collect();
    let mut out = escaped(&begun);
    if let Some((cut, _)) = out.char_indices().nth(LONGEST - 1)
        && out.chars().count() > LONGEST
    {
        out.truncate(cut);
        out.push('…');
    }
    out
}

/// Control characters (C0, DEL, C1), line separators, and what turns the direction of text or cannot be seen.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_misleads_is_escaped() {
        for (text, want) in [
            ("a\u{1b}[2Jb\r\n", "a\\u{1b}[2Jb\\r\\n"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("a\u{202e}cb\u{2066}\u{2028}", "a\\u{202e}cb\\u{2066}\\u{2028}"),
            ("größer 日本 \u{fffd}", "größer 日本 \u{fffd}"),
        ] {
            assert_eq!(escaped(text), want);
        }
    }

    #[test]
    fn a_text_is_cut_by_characters() {
        let fits = "ü".repeat(LONGEST);
        assert_eq!(shortened(&fits), fits);
        let cut = "ü".repeat(LONGEST - 1) + "…";
        assert_eq!(shortened(&(fits + "ü")), cut);
        assert_eq!(shortened(&cut), cut, "once is enough");
        let escapes = shortened(&"\u{1b}".repeat(100_000));
        assert_eq!(escapes.chars().count(), LONGEST);
        assert!(escapes.starts_with("\\u{1b}\\u{1b}") && escapes.ends_with('…'));
    }
}
