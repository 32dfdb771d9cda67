//! Reads status and headers of an HTTP answer.

use tokio::io::AsyncBufRead;

use super::body::Framing;
use crate::{
    advisor::probe::{
        Seen,
        lines::{Allowance, buffered},
        reason,
    },
    model::Statuses,
};

/// The beginning of an answer, in any case.
const PREFIX: &[u8] = b"HTTP/";

/// The headers that say where a body ends.
const FRAMING: [&str; 2] = ["transfer-encoding", "content-length"];

/// An answer up to its body.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The values of all headers of [`FRAMING`], with a comma before each.
    framing: [String; 2],
}

impl Answer {
    /// Reads an answer whose status is expected; `None` if the server sends nothing.
    ///
    /// # Errors
    /// The status is not expected (reported before the headers arrive), it is not HTTP, or the connection fails.
    pub(super) async fn read(
        expected: &Statuses,
        stream: &mut (impl AsyncBufRead + Unpin),
        seen: &mut Seen,
    ) -> Result<Option<Self>, String> {
        let mut allowance = Allowance::default();
        loop {
            let Some(status) = status(stream, &mut allowance, seen).await? else {
                return Ok(None);
            };
            seen.set_missing("the headers are incomplete");
            // Interim answers come before the answer; after 101 there is none.
            let is_interim = matches!(status, 100 | 102..=199);
            if !is_interim && !expected.contains(status) {
                return Err(format!("status {status}, expected {expected}"));
            }
            let mut answer = Self { status, ..Self::default() };
            answer.headers(stream, &mut allowance).await?;
            if !is_interim {
                return Ok(Some(answer));
            }
            seen.set_missing("there is only an interim answer");
        }
    }

    /// Reads headers up to the empty line after them, or up to the end of the connection.
    async fn headers(
        &mut self,
        stream: &mut (impl AsyncBufRead + Unpin),
        allowance: &mut Allowance,
    ) -> Result<(), String> {
        let mut last = None;
        while let Some(line) = allowance.line(stream).await?.filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(&line);
            // A line that begins with white space continues the header before it.
            let is_folded = line.starts_with([' ', '\t']);
            let value = match line.split_once(':') {
                _ if is_folded => line.as_ref(),
                Some((name, value)) => {
                    last = FRAMING.iter().position(|known| known.eq_ignore_ascii_case(name.trim()));
                    value
                }
                None => {
                    // Not a header: ignored.
                    last = None;
                    continue;
                }
            };
            if let Some(kept) = last.and_then(|at| self.framing.get_mut(at)) {
                kept.push(if is_folded { ' ' } else { ',' });
                kept.push_str(value);
            }
        }
        Ok(())
    }

    /// Where the body ends. Contradictory or malformed lengths and unknown codings are ignored; the body then ends with
    /// the connection.
    pub(super) fn framing(&self) -> Framing {
        let [codings, lengths] = &self.framing;
        let values = |all: &str| -> Vec<String> {
            let values = all.split(',').map(|value| value.trim().to_ascii_lowercase());
            values.filter(|value| !value.is_empty()).collect()
        };
        let (codings, lengths) = (values(codings), values(lengths));
        if codings.iter().any(|coding| coding == "chunked") {
            return Framing::Chunked;
        }
        match lengths.split_first() {
            Some((length, others))
                if codings.is_empty() && others.iter().all(|other| other == length) =>
            {
                length.parse().map_or(Framing::UntilClose, Framing::Length)
            }
            _ => Framing::UntilClose,
        }
    }
}

/// The status of the next answer; `None` if the server closed the connection without an answer.
async fn status(
    stream: &mut (impl AsyncBufRead + Unpin),
    allowance: &mut Allowance,
    seen: &mut Seen,
) -> Result<Option<u16>, String> {
    loop {
        let begun = buffered(stream).await.map_err(|error| reason(&error))?;
        if begun.is_empty() {
            return Ok(None);
        }
        // A server that speaks another protocol may never end its first line.
        let is_blank = matches!(begun.first(), Some(b'\r' | b'\n'));
        let known = begun.len().min(PREFIX.len());
        if !is_blank && !begun[..known].eq_ignore_ascii_case(&PREFIX[..known]) {
            return Err(no_http(begun));
        }
        seen.set_missing("the status line is incomplete");
        let line = allowance.line(stream).await?.unwrap_or_default();
        if !line.is_empty() {
            return status_of(&line).map(Some).ok_or_else(|| no_http(&line));
        }
    }
}

/// The status in a status line. Any version and any reason phrase are accepted.
fn status_of(line: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(line);
    let (prefix, rest) = line.split_at_checked(PREFIX.len())?;
    let mut words = rest.split_ascii_whitespace();
    let version = words.next()?;
    let is_version = version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let status = words.next()?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    let is_it = prefix.as_bytes().eq_ignore_ascii_case(PREFIX) && is_version && is_status;
    is_it.then(|| status.parse().ok())?.filter(|status| *status >= 100)
}

fn no_http(begun: &[u8]) -> String {
    /// Bytes that are shown.
    const SHOWN: usize = 40;
    let line = begun.split(|byte| *byte == b'\n').next().unwrap_or(begun);
    let line = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]);
    format!("the answer is not HTTP, it begins with {:?}", line.trim_end())
}
