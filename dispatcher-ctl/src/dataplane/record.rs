//! The controller's own record: bytes that live and die with the pinned maps.
//!
//! It is a document, and amendments to it, in one array. A document is written whole: a new array is filled, pinned as
//! `RECORD_NEXT`, then renamed over `RECORD`. An amendment is written behind what is there, and is part of the record from
//! the one store on that makes the first word count it. Whoever dies in between leaves the record as it was or as it is to
//! be, never a part.
//!
//! A document that takes up what was amended is drafted beside the record, which goes on being amended meanwhile. What has been
//! amended since the draft was begun is copied behind it before the draft takes the record's place.
//!
//! The first word of the array is the document's length in bytes (low half) and the words that amendments take (high half).
//! Each amendment is a word with its length in bytes, and they. Both end at a word's end.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{bpf::Map, error::DataplaneError, mapped::Mapped, pins::RECORD};

/// Name of the next record until it is whole. (bpffs has no names with dots.)
const NEXT: &str = "RECORD_NEXT";
/// Words of an array element: arrays of small elements take records of any size.
type Chunk = [u64; 512];
/// Words for amendments, at least.
const LEAST_ROOM: usize = 8192;

/// A record as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRecord {
    /// The document.
    pub document: Vec<u8>,
    /// What was amended since, in that order.
    pub amendments: Vec<Vec<u8>>,
}

/// The record that this controller has written.
#[derive(Debug)]
pub(super) struct Written {
    memory: Mapped<Chunk>,
    /// The document's length in bytes.
    document: usize,
    /// Words that amendments take.
    amended: usize,
}

/// How much of a record a draft of the next one takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which record of this controller.
    pub(super) generation: u64,
    /// Words of amendments that it had.
    amended: usize,
}

/// A document without amendments that nobody knows of yet.
#[derive(Debug)]
pub struct Draft {
    map: Map,
    written: Written,
}

impl Draft {
    /// Writes a document. This takes a while, and concerns nobody; `pause` is called after every few pages.
    ///
    /// # Errors
    /// As the kernel.
    pub fn new(document: &[u8], pause: fn()) -> Result<Self, DataplaneError> {
        let (map, memory) =
            filled(document, pause).map_err(DataplaneError::map(RECORD, "write it"))?;
        Ok(Self { map, written: Written { memory, document: document.len(), amended: 0 } })
    }

    /// Takes over what a record was amended by since there was so much of it; false if there is no room for it.
    pub(super) fn follow(&mut self, record: &Written, mark: Mark) -> bool {
        self.written.append(record.amendments().get(mark.amended..).unwrap_or_default())
    }

    /// Makes it the record, by one step.
    pub(super) fn put_in_place(self, dir: &Path) -> Result<Written, DataplaneError> {
        let (record, next) = (dir.join(RECORD), dir.join(NEXT));
        if next.exists() {
            fs::remove_file(&next).map_err(DataplaneError::path("unpin", &next))?;
        }
        self.map.pin(&next).map_err(DataplaneError::map(RECORD, "write it"))?;
        fs::rename(&next, &record).map_err(DataplaneError::path("replace", record))?;
        Ok(self.written)
    }
}

/// Reads the record, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<StoredRecord>, DataplaneError> {
    let path = dir.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let record = Map::open(&path).and_then(|map| contents(&map));
    record.map(Some).map_err(DataplaneError::map(RECORD, "read it"))
}

impl Written {
    /// Adds an amendment; false if there is no room for it.
    pub(super) fn amend(&mut self, amendment: &[u8]) -> bool {
        let words = 1 + amendment.len().div_ceil(8);
        let Some((length, place)) = self.room(words).and_then(<[_]>::split_first) else {
            return false;
        };
        length.store(amendment.len() as u64, Ordering::Relaxed);
        write(place, amendment);
        self.count(words);
        true
    }

    /// Adds amendments as they lie in another record; false if there is no room for them.
    fn append(&mut self, amendments: &[AtomicU64]) -> bool {
        let Some(place) = self.room(amendments.len()) else { return false };
        for (to, from) in place.iter().zip(amendments) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.count(amendments.len());
        true
    }

    /// So many words behind what is there.
    fn room(&self, words: usize) -> Option<&[AtomicU64]> {
        let start = 1 + self.document.div_ceil(8) + self.amended;
        self.memory.words().get(start..start + words)
    }

    /// Has words that were written behind what is there be part of it.
    fn count(&mut self, words: usize) {
        self.amended += words;
        if let Some(head) = self.memory.words().first() {
            // From here on they are there. Release: what it counts was written before.
            head.store(head_word(self.document, self.amended), Ordering::Release);
        }
    }

    fn amendments(&self) -> &[AtomicU64] {
        let start = 1 + self.document.div_ceil(8);
        self.memory.words().get(start..start + self.amended).unwrap_or_default()
    }

    /// What a draft that is begun now takes up; `generation` tells this record from others.
    pub(super) const fn mark(&self, generation: u64) -> Mark {
        Mark { generation, amended: self.amended }
    }

    /// Whether amendments have taken more than half of their room: time to write a document that has them in it.
    pub(super) fn is_long(&self) -> bool {
        let room = self.memory.words().len().saturating_sub(1 + self.document.div_ceil(8));
        self.amended > room / 2
    }
}

const fn head_word(document: usize, amended: usize) -> u64 {
    document as u64 | (amended as u64) << 32
}

fn filled(document: &[u8], pause: fn()) -> io::Result<(Map, Mapped<Chunk>)> {
    u32::try_from(document.len()).map_err(io::Error::other)?;
    let length = document.len().div_ceil(8);
    let words = 1 + length + LEAST_ROOM.max(length / 4);
    let chunks = words.div_ceil(size_of::<Chunk>() / 8);
    let chunks = u32::try_from(chunks).map_err(io::Error::other)?;
    let map = Map::create_array(RECORD, size_of::<Chunk>() as u32, chunks)?;
    let memory = Mapped::<Chunk>::new(&map)?;
    let (head, body) = memory.words().split_first().ok_or(io::ErrorKind::InvalidData)?;
    head.store(head_word(document.len(), 0), Ordering::Relaxed);
    let chunk = size_of::<Chunk>();
    for (to, from) in body.chunks(chunk / 8).zip(document.chunks(chunk)) {
        write(to, from);
        pause();
    }
    Ok((map, memory))
}

/// Writes bytes to words, the last of them padded.
fn write(to: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (to, from) in to.iter().zip(whole) {
        to.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
    }
    if let Some(last) = to.get(whole.len()).filter(|_| !rest.is_empty()) {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        last.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
}

fn contents(map: &Map) -> io::Result<StoredRecord> {
    let memory = Mapped::<Chunk>::new(map)?;
    let (head, body) = memory.words().split_first().ok_or(io::ErrorKind::InvalidData)?;
    let head = head.load(Ordering::Acquire);
    let body: Vec<u64> = body.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    parts(head, &body).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The record that these words hold; none where they contradict each other.
fn parts(head: u64, body: &[u64]) -> Option<StoredRecord> {
    let (length, amended) = (head as u32 as usize, (head >> 32) as usize);
    let (document, rest) = body.split_at_checked(length.div_ceil(8))?;
    let mut rest = rest.get(..amended)?;
    let mut amendments = Vec::new();
    while let Some((length, behind)) = rest.split_first() {
        let length = usize::try_from(*length).ok()?;
        let (amendment, behind) = behind.split_at_checked(length.div_ceil(8))?;
        amendments.push(bytes(amendment, length));
        rest = behind;
    }
    Some(StoredRecord { document: bytes(document, length), amendments })
}

fn bytes(words: &[u64], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u64> {
        let padded = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        bytes.chunks(8).map(padded).collect()
    }

    #[test]
    fn what_the_head_does_not_count_is_not_there() {
        let mut body = words(b"the document");
        let first = [vec![5], words(b"first")].concat();
        let second = [vec![9], words(b"secondary")].concat();
        body.extend(first.iter().chain(&second));
        let amendments = |amended| {
            let record = parts(head_word(12, amended), &body)?;
            assert_eq!(record.document, b"the document");
            Some(record.amendments)
        };
        assert_eq!(amendments(0), Some(vec![]));
        assert_eq!(amendments(2), Some(vec![b"first".to_vec()]));
        assert_eq!(amendments(5), Some(vec![b"first".to_vec(), b"secondary".to_vec()]));
        // None of these was ever written.
        for torn in [1, 3, 4, 6, 100] {
            assert_eq!(amendments(torn), None, "{torn} words");
        }
        assert_eq!(parts(head_word(1000, 0), &body), None);
    }
}
