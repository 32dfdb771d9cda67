//! The saved state: documents of the controller, which exist as long as the pinned maps.
//!
//! They lie in one array of words, pinned as `RECORD`:
//!
//! - word 0: [`FORMAT`];
//! - word 1: where the index is, in words (upper half), and how many documents it has (lower half);
//! - the index: one [`Place`] per document, in the caller's order;
//! - documents and index lie anywhere, in whole [`Block`]s.
//!
//! Saving is safe at every step, because word 1 alone says what is saved:
//!
//! 1. documents that have changed are written into free space;
//! 2. the index of all documents is written into free space;
//! 3. one store of word 1 makes this the saved state;
//! 4. what the former index named and the new one does not is free from then on.
//!
//! A controller that dies before step 3 leaves what was saved before. Where the array has no room, a larger one is filled, pinned
//! as `RECORD_NEXT`, and renamed over `RECORD`: again one step.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::{
    bpf::Map,
    error::DatapathError,
    mapped::Mapped,
    pins::{RECORD, unpin},
    pool::{Pool, Space},
};

/// Name of a larger array until it is filled. (bpffs has no names with dots.)
const NEXT: &str = "RECORD_NEXT";
/// Word 0. Controllers that expect a single document read its length here: longer than any array, so they refuse it.
const FORMAT: u64 = u32::MAX as u64;
/// Position of the word that says what is saved.
const SAVED: usize = 1;
/// Words of an array element: arrays of small elements take documents of any size.
type Chunk = [u64; 512];
/// Words of which a document takes a whole number, so that one that grows a little fits where it was.
type Block = [u64; 16];
/// Words of free space in a new array, at least.
const LEAST_ROOM: usize = 8192;

/// The saved state as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedTexts {
    /// Documents, in the order in which they were saved.
    Documents(Vec<Vec<u8>>),
    /// The former format: one document, and amendments to it in their order.
    Amended(Vec<u8>, Vec<Vec<u8>>),
}

/// Where a document lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its first word.
    offset: u32,
    /// Its length in bytes.
    length: u32,
}

/// A document to save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// As this controller saved it before.
    Kept(Place),
    /// New or changed.
    New(Vec<u8>),
}

/// The saved documents of this controller.
#[derive(Debug)]
pub struct SavedDocuments {
    dir: PathBuf,
    /// None until something is saved.
    array: Option<(Mapped<Chunk>, Layout)>,
}

/// Which words of an array are in use.
#[derive(Debug)]
struct Layout {
    pool: Pool,
    index: Space,
    documents: Vec<Place>,
}

/// Reads the saved state of a pin directory, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<SavedTexts>, DatapathError> {
    let path = dir.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let read = |map: Map| {
        let words = Mapped::<Chunk>::new(&map)?;
        saved_state(words.words()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    let state = Map::open(&path).and_then(read);
    state.map(Some).map_err(DatapathError::map(RECORD, "read it"))
}

impl SavedDocuments {
    /// This controller has saved nothing yet; the state that an earlier one saved stays until it does.
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, array: None }
    }

    /// Makes these documents the saved state, all or none; returns their places.
    ///
    /// # Errors
    /// As the kernel.
    pub fn save(&mut self, documents: &[Document]) -> Result<Vec<Place>, DatapathError> {
        if let Some((array, layout)) = &mut self.array
            && layout.save(array.words(), documents)
        {
            return Ok(layout.documents.clone());
        }
        let whole: Vec<Document> = documents.iter().map(|d| Document::New(self.bytes(d))).collect();
        let failed = || DatapathError::map(RECORD, "write it");
        let (map, array, layout) = filled(&whole).map_err(failed())?;
        let (path, next) = (self.dir.join(RECORD), self.dir.join(NEXT));
        unpin(&next)?;
        map.pin(&next).map_err(failed())?;
        fs::rename(&next, &path).map_err(DatapathError::path("replace", path))?;
        let places = layout.documents.clone();
        self.array = Some((array, layout));
        Ok(places)
    }

    fn bytes(&self, document: &Document) -> Vec<u8> {
        match (document, &self.array) {
            (Document::New(bytes), _) => bytes.clone(),
            (Document::Kept(place), Some((array, _))) => {
                place.read(array.words()).unwrap_or_default()
            }
            (Document::Kept(_), None) => Vec::new(),
        }
    }
}

impl Layout {
    fn new(words: usize) -> Self {
        let mut pool = Pool::resume(words as u32, [Space { offset: 0, length: 2 }], Instant::now());
        pool.rested();
        Self { pool, index: Space { offset: 0, length: 0 }, documents: Vec::new() }
    }

    /// Makes these documents the saved ones. If there is no room, returns false and leaves the saved ones as they are.
    fn save(&mut self, words: &[AtomicU64], documents: &[Document]) -> bool {
        let now = Instant::now();
        let mut places = Vec::with_capacity(documents.len());
        for document in documents {
            let place = match document {
                Document::Kept(place) => Some(*place),
                Document::New(bytes) => self.write(words, bytes, now),
            };
            let Some(place) = place else { return false };
            places.push(place);
        }
        let Some(index) = self.pool.take(places.len() as u32, now) else { return false };
        for (to, place) in words.iter().skip(index.offset as usize).zip(&places) {
            to.store(place.word(), Ordering::Relaxed);
        }
        if let Some(saved) = words.get(SAVED) {
            let word = u64::from(index.offset) << 32 | places.len() as u64;
            // Release: all of it was written before.
            saved.store(word, Ordering::Release);
        }
        let former = std::mem::replace(&mut self.documents, places);
        // Most stay where they are in the list; a document that moved in it is found among those that did.
        let is_moved = |(at, place): &(usize, &Place)| former.get(*at) != Some(*place);
        let moved = self.documents.iter().enumerate().filter(is_moved);
        let moved: HashSet<u32> = moved.map(|(_, place)| place.offset).collect();
        let is_gone = |(at, place): &(usize, &Place)| {
            self.documents.get(*at) != Some(*place) && !moved.contains(&place.offset)
        };
        let gone = former.iter().enumerate().filter(is_gone);
        gone.for_each(|(_, place)| self.pool.leave(place.space(), now));
        self.pool.leave(std::mem::replace(&mut self.index, index), now);
        // Nobody reads while this controller writes.
        self.pool.rested();
        true
    }

    fn write(&mut self, words: &[AtomicU64], bytes: &[u8], now: Instant) -> Option<Place> {
        let length = u32::try_from(bytes.len()).ok()?;
        let space = self.pool.take(Place { offset: 0, length }.space().length, now)?;
        let place = Place { offset: space.offset, length };
        for (to, bytes) in words.get(place.offset as usize..)?.iter().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            to.store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        Some(place)
    }
}

impl Place {
    const fn word(self) -> u64 {
        (self.offset as u64) << 32 | self.length as u64
    }

    /// The place that a word of the index says.
    pub(crate) const fn of_word(word: u64) -> Self {
        Self { offset: (word >> 32) as u32, length: word as u32 }
    }

    fn space(self) -> Space {
        let words = self.length.div_ceil(8).max(1);
        Space { offset: self.offset, length: words.next_multiple_of(BLOCK as u32) }
    }

    /// The document; `None` if it is not within the array.
    fn read(self, words: &[AtomicU64]) -> Option<Vec<u8>> {
        let length = self.length as usize;
        let words = words.get(self.offset as usize..)?.get(..length.div_ceil(8))?;
        let words = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        Some(words.take(length).collect())
    }
}

/// A new array with these documents, and room for changes.
fn filled(documents: &[Document]) -> io::Result<(Map, Mapped<Chunk>, Layout)> {
    let length = |document: &Document| match document {
        Document::New(bytes) => bytes.len().div_ceil(8) + BLOCK,
        Document::Kept(_) => 0,
    };
    let words = documents.iter().map(length).sum::<usize>() + documents.len();
    let words = 2 + words + LEAST_ROOM.max(words / 2);
    let chunks = words.div_ceil(size_of::<Chunk>() / 8);
    let chunks = u32::try_from(chunks).map_err(io::Error::other)?;
    let map = Map::create_array(RECORD, size_of::<Chunk>() as u32, chunks, 0)?;
    let array = Mapped::<Chunk>::new(&map)?;
    let mut layout = Layout::new(array.words().len());
    if let Some(format) = array.words().first() {
        format.store(FORMAT, Ordering::Relaxed);
    }
    if !layout.save(array.words(), documents) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    Ok((map, array, layout))
}

/// The state that these words describe; `None` if they contradict each other.
fn saved_state(words: &[AtomicU64]) -> Option<SavedTexts> {
    let word = |at: usize| Some(words.get(at)?.load(Ordering::Acquire));
    let head = word(0)?;
    if head != FORMAT {
        return amended(words, head);
    }
    let saved = word(SAVED)?;
    let (offset, count) = ((saved >> 32) as usize, saved as u32 as usize);
    let index = words.get(offset..)?.get(..count)?.iter();
    let places = index.map(|word| Place::of_word(word.load(Ordering::Relaxed)));
    places.map(|place| place.read(words)).collect::<Option<_>>().map(SavedTexts::Documents)
}

/// The former format: word 0 has the document's length in bytes (lower half) and the number of words that amendments take (upper
/// half); each amendment is a word with its length in bytes, and its bytes. Document and amendments end at a word's end.
fn amended(words: &[AtomicU64], head: u64) -> Option<SavedTexts> {
    let document = Place { offset: 1, length: head as u32 };
    let mut next = 1 + document.length.div_ceil(8);
    let end = next.checked_add((head >> 32) as u32)?;
    let mut amendments = Vec::new();
    while next < end {
        let length = u32::try_from(words.get(next as usize)?.load(Ordering::Relaxed)).ok()?;
        amendments.push(Place { offset: next + 1, length }.read(words)?);
        next = (next + 1).checked_add(length.div_ceil(8))?;
    }
    (next == end).then_some(SavedTexts::Amended(document.read(words)?, amendments))
}

const BLOCK: usize = size_of::<Block>() / 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn array(words: usize) -> Vec<AtomicU64> {
        let mut array: Vec<_> = (0..words).map(|_| AtomicU64::new(0)).collect();
        array[0] = AtomicU64::new(FORMAT);
        array
    }

    fn copy(words: &[AtomicU64]) -> Vec<u64> {
        words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn documents(texts: &[&str]) -> SavedTexts {
        SavedTexts::Documents(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    fn new(text: &str) -> Document {
        Document::New(text.as_bytes().to_vec())
    }

    /// Killed after any of its writes, the controller leaves what was saved before, or what it saved.
    #[test]
    fn a_save_is_seen_whole_or_not_at_all() {
        let words = array(400);
        let mut layout = Layout::new(words.len());
        assert!(layout.save(&words, &[new("head"), new("first service"), new("second")]));
        for round in 0..50 {
            let [head, _, second] = layout.documents[..] else { panic!("three documents") };
            let (first, longer) = (format!("first {round}"), "x".repeat(round * 3));
            let before = (copy(&words), saved_state(&words).unwrap());
            // A document that changes, one that grows, and one that comes and goes.
            let mut wanted = vec![Document::Kept(head), new(&first), Document::Kept(second)];
            if round % 3 == 0 {
                wanted[2] = new(&longer);
            }
            assert!(layout.save(&words, &wanted), "there is room in round {round}");
            let (after, state) = (copy(&words), saved_state(&words).unwrap());
            assert_ne!(state, before.1);
            // Whatever of the other words is there before word 1 changes, it says what it said.
            let changed: Vec<_> =
                (0..words.len()).filter(|at| before.0[*at] != after[*at]).collect();
            assert!(changed.contains(&SAVED));
            let torn: Vec<_> = before.0.iter().copied().map(AtomicU64::new).collect();
            for at in changed.iter().filter(|at| **at != SAVED) {
                torn[*at].store(after[*at], Ordering::Relaxed);
                assert_eq!(saved_state(&torn).unwrap(), before.1, "word {at} is written");
            }
            torn[SAVED].store(after[SAVED], Ordering::Relaxed);
            assert_eq!(saved_state(&torn).unwrap(), state);
        }
    }

    #[test]
    fn without_room_what_was_saved_stays() {
        let words = array(100);
        let mut layout = Layout::new(words.len());
        assert!(layout.save(&words, &[new("one"), new("two")]));
        let [one, two] = layout.documents[..] else { panic!("two documents") };
        assert!(!layout.save(&words, &[Document::Kept(two), new(&"x".repeat(1000))]));
        assert_eq!(saved_state(&words).unwrap(), documents(&["one", "two"]));
        assert!(layout.save(&words, &[Document::Kept(two), Document::Kept(one)]));
        assert_eq!(saved_state(&words).unwrap(), documents(&["two", "one"]));
        assert!(layout.save(&words, &[]));
        assert_eq!(saved_state(&words).unwrap(), documents(&[]));
    }

    #[test]
    fn the_former_format_is_read_up_to_what_its_head_counts() {
        let mut body = Vec::new();
        let mut put = |bytes: &[u8]| {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                body.push(u64::from_ne_bytes(word));
            }
        };
        put(b"the document");
        put(&5_u64.to_ne_bytes());
        put(b"first");
        put(&9_u64.to_ne_bytes());
        put(b"secondary");
        let amendments = |document: u64, amended: u64| {
            let head = document | amended << 32;
            let words: Vec<_> = [head].iter().chain(&body).map(|w| AtomicU64::new(*w)).collect();
            match saved_state(&words)? {
                SavedTexts::Amended(document, amendments) => {
                    assert_eq!(document, b"the document");
                    Some(amendments)
                }
                SavedTexts::Documents(_) => panic!("the former format"),
            }
        };
        assert_eq!(amendments(12, 0), Some(vec![]));
        assert_eq!(amendments(12, 2), Some(vec![b"first".to_vec()]));
        assert_eq!(amendments(12, 5), Some(vec![b"first".to_vec(), b"secondary".to_vec()]));
        // None of these was ever written.
        for torn in [1, 3, 4, 6, 100] {
            assert_eq!(amendments(12, torn), None, "{torn} words");
        }
        assert_eq!(amendments(1000, 0), None);
    }
}
