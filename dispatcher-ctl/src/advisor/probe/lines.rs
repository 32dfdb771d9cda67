//! Reads lines from a server, with bounds on what is kept of a line and on all lines together.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use super::reason;

/// Bytes of a line that are kept; the rest is discarded.
const KEPT: usize = 8 * 1024;
/// Bytes of all lines of an answer.
const LONGEST: usize = 1024 * 1024;

/// How much more of an answer is read.
#[derive(Debug)]
pub(super) struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(LONGEST)
    }
}

impl Allowance {
    /// The next line, without its end (CR LF or LF); `None` if the server has closed the connection. An unfinished line
    /// before that counts.
    ///
    /// # Errors
    /// The connection fails, or the answer is too long.
    pub(super) async fn line(
        &mut self,
        stream: &mut (impl AsyncBufRead + Unpin),
    ) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        loop {
            let piece = buffered(stream).await.map_err(|error| reason(&error))?;
            if piece.is_empty() {
                return Ok((!line.is_empty()).then_some(line));
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let content = &piece[..end.unwrap_or(piece.len())];
            line.extend_from_slice(&content[..content.len().min(KEPT - line.len())]);
            let taken = content.len() + usize::from(end.is_some());
            stream.consume(taken);
            let left = self.0.checked_sub(taken);
            self.0 = left.ok_or("the answer is longer than 1 MiB before anything is decided")?;
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
        }
    }
}

/// Returns the bytes that have arrived; none if the server has closed the connection, with or without a TLS close
/// message.
///
/// # Errors
/// The connection fails.
pub(super) async fn buffered(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<&[u8]> {
    match stream.fill_buf().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(&[]),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_as_servers_end_them() {
        let mut said: &[u8] = b"one\r\ntwo\n\r\nthe rest";
        let mut allowance = Allowance::default();
        for want in [Some("one"), Some("two"), Some(""), Some("the rest"), None, None] {
            let line = allowance.line(&mut said).await.unwrap();
            assert_eq!(line.as_deref(), want.map(str::as_bytes));
        }
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_long_answers_refused() {
        let long = "x".repeat(100_000) + "\nshort\n" + &"\n".repeat(LONGEST);
        let (mut said, mut allowance) = (long.as_bytes(), Allowance::default());
        assert_eq!(allowance.line(&mut said).await.unwrap().unwrap(), [b'x'; KEPT]);
        assert_eq!(allowance.line(&mut said).await.unwrap().unwrap(), b"short");
        let error = loop {
            if let Err(error) = allowance.line(&mut said).await {
                break error;
            }
        };
        assert_eq!(error, "the answer is longer than 1 MiB before anything is decided");
    }
}
