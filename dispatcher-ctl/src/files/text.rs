//! Checks that a file's bytes are UTF-8 text, and finds the place where they are not.

/// Bytes that are not UTF-8, or that no text file contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotText {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there, and what was expected.
    pub message: String,
    /// How to fix it.
    pub hint: &'static str,
}

const SAVE_AS: &str = "save the file as UTF-8";

/// Decodes a file's text.
///
/// # Errors
/// The first byte that is not UTF-8 text.
pub fn text(bytes: Vec<u8>) -> Result<String, NotText> {
    if let Some(order) = utf16(&bytes) {
        let message = format!("the file is UTF-16 ({order} endian), expected UTF-8");
        return Err(NotText { line: 1, column: 1, message, hint: SAVE_AS });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let byte = rest.first().copied().unwrap_or_default();
        let mut wrong = at(&String::from_utf8_lossy(valid), String::new(), SAVE_AS);
        wrong.message = format!("byte 0x{byte:02x} in line {} is not UTF-8 text", wrong.line);
        wrong
    })?;
    match text.find('\0') {
        Some(offset) => {
            let hint = "the file is damaged, or not a text file";
            Err(at(&text[..offset], "a NUL byte, expected text".to_owned(), hint))
        }
        None => Ok(text),
    }
}

/// The byte order if the bytes look like UTF-16: they begin with its mark, or with two ASCII letters in it.
fn utf16(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] => Some("little"),
        [0xfe, 0xff, ..] => Some("big"),
        [1..=0x7f, 0, 1..=0x7f, 0, ..] => Some("little"),
        [0, 1..=0x7f, 0, 1..=0x7f, ..] => Some("big"),
        _ => None,
    }
}

fn at(before: &str, message: String, hint: &'static str) -> NotText {
    let line = before.rsplit('\n').next().unwrap_or_default();
    NotText {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: line.chars().count() + 1,
        message,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], line: usize, column: usize, message: &str) {
        let wrong = text(bytes.to_vec()).unwrap_err();
        assert_eq!((wrong.line, wrong.column, &*wrong.message), (line, column, message));
    }

    #[test]
    fn what_is_no_text_has_its_place() {
        check(b"# first\n# Gr\xf6\xdfe\n", 2, 5, "byte 0xf6 in line 2 is not UTF-8 text");
        check(
            "größe = \u{fc}".as_bytes().split_last().unwrap().1,
            1,
            9,
            "byte 0xc3 in line 1 is not UTF-8 text",
        );
        check(b"a = 1\nb = \"10.\0\"\n", 2, 9, "a NUL byte, expected text");
        check(&[0; 5000], 1, 1, "a NUL byte, expected text");
        check(b"\xff\xfea\0=\0", 1, 1, "the file is UTF-16 (little endian), expected UTF-8");
        check(b"\xfe\xff\0a\0=", 1, 1, "the file is UTF-16 (big endian), expected UTF-8");
        check(b"a\0=\x001\0", 1, 1, "the file is UTF-16 (little endian), expected UTF-8");
        assert_eq!(text("\u{feff}größe\r\n".into()).unwrap(), "\u{feff}größe\r\n");
        assert_eq!(text(Vec::new()).unwrap(), "");
    }
}
