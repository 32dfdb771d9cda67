//! Array maps as memory: words that both the datapath and the controller load, store and swap.

use std::{
    io,
    marker::PhantomData,
    os::fd::AsRawFd,
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU64, Ordering},
};

use aya::Pod;
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY};

use super::{bpf::Map, error::DatapathError};

/// An array map of `T`, mapped for reading and writing until dropped.
///
/// It is accessed as atomic words and not as `T`s, because the datapath writes to it at any time.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    memory: NonNull<u8>,
    /// Bytes mapped: whole pages.
    mapped_bytes: usize,
    /// Bytes of the entries.
    bytes: usize,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: the memory belongs to the mapping, which any thread may use and drop, and is only ever accessed atomically.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as above; shared access is through atomics only.
unsafe impl<T> Sync for Mapped<T> {}

impl<T: Pod> Mapped<T> {
    /// Bytes from one entry to the next: the kernel rounds values up to eight.
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    /// Maps an array, or a section of the object: a section's only value holds all entries.
    ///
    /// # Errors
    /// The map is no mappable array of values of this size, or mmap(2) fails.
    pub(super) fn new(map: &Map) -> io::Result<Self> {
        let info = map.info();
        let (value, entry) = (info.value_size as usize, size_of::<T>());
        let is_section = info.max_entries == 1 && entry == Self::STRIDE;
        let fits = value == entry || is_section && value.is_multiple_of(entry);
        let is_array = info.type_ == BPF_MAP_TYPE_ARRAY as u32;
        if !is_array || info.map_flags & BPF_F_MMAPABLE == 0 || !fits {
            let text = format!(
                "is type {} flags {:#x} with values of {} bytes, expected a mappable array of {} bytes",
                info.type_, info.map_flags, info.value_size, entry
            );
            return Err(io::Error::other(text));
        }
        let entries = info.max_entries as usize * (value / entry);
        let bytes = entries * Self::STRIDE;
        let mapped_bytes = bytes.next_multiple_of(page_size());
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsFd::as_fd(map).as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { memory, mapped_bytes, bytes, _type: PhantomData })
    }

    /// The whole array as words; an entry begins every `STRIDE` / 8 words.
    #[must_use]
    pub(super) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, at least `bytes` long (a multiple of eight), lives as long as `self`, and
        // is accessed through atomics only; any bits are a valid word.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.bytes / 8) }
    }

    /// The words of an entry; `None` outside of the array.
    #[must_use]
    pub(super) fn entry(&self, index: usize) -> Option<&[AtomicU64]> {
        let words = Self::STRIDE / 8;
        self.words().get(index.checked_mul(words)?..)?.get(..words)
    }

    /// The current value of a word of an entry; 0 outside of the array.
    #[must_use]
    pub(super) fn load(&self, index: usize, word: usize) -> u64 {
        let word = self.entry(index).and_then(|words| words.get(word));
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The whole array as 16-bit words.
    #[must_use]
    pub(super) const fn halves(&self) -> &[AtomicU16] {
        // SAFETY: as in `words`; 16-bit atomics need less alignment. An array is used either by words or by halves.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.bytes / 2) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.mapped_bytes) };
    }
}

/// Opens a pinned map.
pub(super) fn open(dir: &Path, name: &'static str) -> Result<Map, DatapathError> {
    Map::open(&dir.join(name)).map_err(DatapathError::map(name, "open its pin"))
}

/// Opens and maps a pinned array.
pub(super) fn mapped<T: Pod>(dir: &Path, name: &'static str) -> Result<Mapped<T>, DatapathError> {
    Mapped::new(&open(dir, name)?).map_err(DatapathError::map(name, "map it"))
}

/// Values as the words that they consist of.
pub(super) const fn words<T: Pod>(values: &[T]) -> &[u64] {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    // SAFETY: values of a `Pod` type have no padding, so every word is initialised; size and alignment are checked above.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values) / 8) }
}

/// Values as the words that they consist of, to be changed.
pub(super) const fn words_mut<T: Pod>(values: &mut [T]) -> &mut [u64] {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let length = size_of_val(values) / 8;
    // SAFETY: as in `words`; any word is valid in a `Pod` type, and the borrow of `values` makes this the only access.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), length) }
}

/// Position of a field's word within its entry.
macro_rules! word_of {
    ($type:ty, $field:ident) => {
        std::mem::offset_of!($type, $field) / 8
    };
}
pub(super) use word_of;

fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
