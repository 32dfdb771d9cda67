//! Searches a body for a text while it arrives: bodies of any size, also endless ones.

use memchr::memmem::Finder;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use crate::advisor::probe::{
    lines::{Allowance, buffered},
    reason,
};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the empty chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Result of searching a part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The text is there.
    Found,
    /// The text is not there, and the part is complete.
    Whole,
    /// The text is not there, and the connection ended after this many bytes.
    Cut(u64),
}

/// The search for a text.
#[derive(Debug)]
pub(super) struct Search<'a> {
    text: &'a str,
    finder: Finder<'a>,
    /// The end of what was read, which may be the text's beginning.
    tail: Vec<u8>,
}

impl<'a> Search<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, finder: Finder::new(text), tail: Vec::new() }
    }

    /// Reads a body until the text is found.
    ///
    /// # Errors
    /// The body or the connection ended without the text, or the connection failed.
    pub(super) async fn run(
        mut self,
        framing: Framing,
        stream: &mut (impl AsyncBufRead + Unpin),
    ) -> Result<(), String> {
        let text = self.text;
        if text.is_empty() {
            return Ok(());
        }
        let found = match framing {
            Framing::Length(length) => self.part(length, stream).await?,
            Framing::Chunked => self.chunks(stream).await?,
            Framing::UntilClose => self.part(u64::MAX, stream).await?,
        };
        match (found, framing) {
            (Part::Found, _) => Ok(()),
            (Part::Whole, _) | (Part::Cut(_), Framing::UntilClose) => {
                Err(format!("the body lacks {text:?}"))
            }
            (Part::Cut(read), Framing::Length(length)) => Err(format!(
                "body: the connection ends after {read} of {length} bytes, without {text:?}"
            )),
            (Part::Cut(_), Framing::Chunked) => {
                Err(format!("body: the connection ends before the last chunk, without {text:?}"))
            }
        }
    }

    async fn chunks(&mut self, stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Part, String> {
        let mut read = 0;
        loop {
            let Some(line) = Allowance::default().line(stream).await? else {
                return Ok(Part::Cut(read));
            };
            let size = chunk_size(&line)?;
            if size == 0 {
                return Ok(Part::Whole);
            }
            match self.part(size, stream).await? {
                Part::Whole => read += size,
                Part::Found => return Ok(Part::Found),
                Part::Cut(part) => return Ok(Part::Cut(read + part)),
            }
            // The line end after the chunk.
            match Allowance::default().line(stream).await? {
                None => return Ok(Part::Cut(read)),
                Some(rest) if rest.is_empty() => {}
                Some(_) => return Err(format!("body: a chunk is longer than its size {size:#x}")),
            }
        }
    }

    /// Searches this many bytes.
    async fn part(
        &mut self,
        length: u64,
        stream: &mut (impl AsyncBufRead + Unpin),
    ) -> Result<Part, String> {
        let mut left = length;
        while left > 0 {
            let piece = buffered(stream).await;
            let piece = piece.map_err(|error| format!("body: {}", reason(&error)))?;
            if piece.is_empty() {
                return Ok(Part::Cut(length - left));
            }
            let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if self.comes_with(&piece[..taken]) {
                return Ok(Part::Found);
            }
            stream.consume(taken);
            left -= taken as u64;
        }
        Ok(Part::Whole)
    }

    /// Whether the text is complete with this piece.
    fn comes_with(&mut self, piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        if self.finder.find(&self.tail).is_some() {
            return true;
        }
        let kept = self.tail.len().min(self.text.len() - 1);
        self.tail.drain(..self.tail.len() - kept);
        false
    }
}

/// The number at the beginning of a chunk's line; extensions may follow.
fn chunk_size(line: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(line);
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).map_err(|_| {
        let begun: String = text.chars().take(40).collect();
        format!("body: the chunk size {begun:?} is not a hexadecimal number")
    })
}
