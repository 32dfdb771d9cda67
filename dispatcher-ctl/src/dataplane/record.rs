//! The controller's own record: bytes that live and die with the pinned maps.
//!
//! A new array is filled, pinned as `RECORD_NEXT`, then renamed over `RECORD`: whoever dies in between leaves the old
//! record or the new one, whole. The first word of the array is the record's length.

use std::{fs, io, path::Path, sync::atomic::Ordering};

use super::{bpf::Map, error::DataplaneError, mapped::Mapped, pins::RECORD};

/// Name of the next record until it is whole. (bpffs has no names with dots.)
const NEXT: &str = "RECORD_NEXT";
/// Words of an array element: arrays of small elements take records of any size.
type Chunk = [u64; 512];

/// Reads the record, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Vec<u8>>, DataplaneError> {
    let path = dir.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = Map::open(&path).and_then(|map| contents(&map));
    bytes.map(Some).map_err(DataplaneError::map(RECORD, "read it"))
}

/// Replaces the record.
pub(super) fn store(dir: &Path, bytes: &[u8]) -> Result<(), DataplaneError> {
    let (record, next) = (dir.join(RECORD), dir.join(NEXT));
    if next.exists() {
        fs::remove_file(&next).map_err(DataplaneError::path("unpin", &next))?;
    }
    filled(bytes)
        .and_then(|map| map.pin(&next))
        .map_err(DataplaneError::map(RECORD, "write it"))?;
    fs::rename(&next, &record).map_err(DataplaneError::path("replace", record))
}

fn filled(bytes: &[u8]) -> io::Result<Map> {
    let words = 1 + bytes.len().div_ceil(8);
    let chunks = words.div_ceil(size_of::<Chunk>() / 8);
    let chunks = u32::try_from(chunks).map_err(io::Error::other)?;
    let map = Map::create_array(RECORD, size_of::<Chunk>() as u32, chunks)?;
    let memory = Mapped::<Chunk>::new(&map)?;
    let (head, body) = memory.words().split_first().ok_or(io::ErrorKind::InvalidData)?;
    head.store(bytes.len() as u64, Ordering::Relaxed);
    for (to, from) in body.iter().zip(bytes.chunks(8)) {
        let mut word = [0; 8];
        word[..from.len()].copy_from_slice(from);
        to.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
    Ok(map)
}

fn contents(map: &Map) -> io::Result<Vec<u8>> {
    let memory = Mapped::<Chunk>::new(map)?;
    let (head, body) = memory.words().split_first().ok_or(io::ErrorKind::InvalidData)?;
    let length = usize::try_from(head.load(Ordering::Relaxed)).map_err(io::Error::other)?;
    if length > body.len() * 8 {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let words = &body[..length.div_ceil(8)];
    let mut bytes: Vec<u8> =
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    bytes.truncate(length);
    Ok(bytes)
}
