//! `ldap`: an anonymous bind that succeeds (RFC 4511).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Stream, reason};

/// Message 1: bind, version 3, empty name, simple authentication with an empty password.
const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
/// Message 2: unbind.
const UNBIND: &[u8] = b"\x30\x05\x02\x01\x02\x42\x00";
/// Longest answer to a bind.
const LONGEST: usize = 16 * 1024;
const SEQUENCE: u8 = 0x30;
const BIND_RESPONSE: u8 = 0x61;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;

pub(super) async fn check(mut stream: impl Stream) -> Result<(), String> {
    stream.write_all(BIND).await.map_err(|error| reason(&error))?;
    let mut answer = Vec::new();
    let code = loop {
        let length = stream.read_buf(&mut answer).await.map_err(|error| reason(&error))?;
        if let Some(code) = result_code(&answer)? {
            break code;
        }
        if length == 0 || answer.len() > LONGEST {
            return Err("the answer is incomplete".to_owned());
        }
    };
    // The answer is here: an error of the unbind says nothing about the server.
    let _best_effort = stream.write_all(UNBIND).await;
    if code == [0] {
        Ok(())
    } else {
        Err(format!("the bind's result is {}, expected 0 (success)", number(code)))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The result code; `None` while bytes are missing.
fn result_code(answer: &[u8]) -> Result<Option<&[u8]>, String> {
    let is_other = |byte: Option<&u8>, tag| byte.is_some_and(|byte| *byte != tag);
    if is_other(answer.first(), SEQUENCE) {
        return Err("the answer is not LDAP".to_owned());
    }
    let Some((message, _)) = element(answer, SEQUENCE) else { return Ok(None) };
    let inner = element(message, INTEGER)
        .and_then(|(_, rest)| element(rest, BIND_RESPONSE))
        .and_then(|(response, _)| element(response, ENUMERATED))
        .map(|(code, _)| code)
        .filter(|code| (1..=4).contains(&code.len()));
    inner.map(Some).ok_or_else(|| "the answer is not a bind response".to_owned())
}

/// Contents of an element with this tag (BER, definite length), and the bytes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (length, rest) = match *short {
        short @ 0..=0x7f => (usize::from(short), rest),
        // This many bytes of length follow; more than four never occur.
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (usize::try_from(number(length)).ok()?, rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_found_however_its_lengths_are_written() {
        let short = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00";
        let long = b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\x31\x04\x00\x04\x00";
        for answer in [&short[..], long] {
            assert_eq!(result_code(answer), Ok(Some(&[0x31][..])));
            for cut in 0..answer.len() {
                assert_eq!(result_code(&answer[..cut]), Ok(None), "{cut}");
            }
        }
        result_code(b"HTTP/1.1 200 OK").unwrap_err();
        result_code(b"\x30\x03\x02\x01\x01").unwrap_err();
        result_code(BIND).unwrap_err();
    }
}
