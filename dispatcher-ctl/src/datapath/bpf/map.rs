//! Maps: made, opened, pinned, and their entries read and written as bytes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use super::{
    call::{Command, Info, call, descriptor, info, open_pin, pin},
    system::possible_cpus,
};

/// `BPF_F_MMAPABLE`: user space may map the array.
pub(in crate::datapath) const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP` (Linux 5.10): an array of any size may take the place of this one in an array of maps.
const INNER_MAP: u32 = 1 << 12;
/// `BPF_MAP_TYPE_ARRAY`.
pub(in crate::datapath) const ARRAY: u32 = 2;
/// `BPF_NOEXIST`: only a key that is not there yet.
const NOEXIST: u64 = 1;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
const ARRAY_OF_MAPS: u32 = 12;
/// `BPF_MAP_TYPE_DEVMAP`.
const DEVMAP: u32 = 14;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const PERCPU_ARRAY: u32 = 6;

#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What the kernel says of a map (the head of `struct bpf_map_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::datapath) struct MapInfo {
    /// `enum bpf_map_type`.
    pub(in crate::datapath) map_type: u32,
    /// The map's id, as `bpftool map` shows it.
    pub(in crate::datapath) id: u32,
    /// Bytes of a key.
    pub(in crate::datapath) key_size: u32,
    /// Bytes of a value (of one CPU).
    pub(in crate::datapath) value_size: u32,
    /// Entries it was made for.
    pub(in crate::datapath) max_entries: u32,
    /// `BPF_F_*`.
    pub(in crate::datapath) map_flags: u32,
}

// SAFETY: six integers of four bytes.
unsafe impl Info for MapInfo {}

/// What makes a map whose keys are indices.
fn indexed(map_type: u32, value_size: u32, max_entries: u32) -> CreateAttr {
    CreateAttr { map_type, key_size: 4, value_size, max_entries, ..CreateAttr::default() }
}

/// A map, with what the kernel says of it.
#[derive(Debug)]
pub(in crate::datapath) struct Map {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes that a lookup copies: the value, or for per-CPU maps one value for each possible CPU, each rounded up to 8.
    transfer: usize,
}

impl Map {
    /// Makes an array that user space may map.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn create_array(
        name: &str,
        value_size: u32,
        max_entries: u32,
    ) -> io::Result<Self> {
        Self::create(
            name,
            CreateAttr { map_flags: MMAPABLE, ..indexed(ARRAY, value_size, max_entries) },
        )
    }

    /// Makes such an array to be put into an array of maps, whatever the size of the one that it was declared with.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn create_inner_array(
        name: &str,
        value_size: u32,
        max_entries: u32,
    ) -> io::Result<Self> {
        let map_flags = MMAPABLE | INNER_MAP;
        Self::create(name, CreateAttr { map_flags, ..indexed(ARRAY, value_size, max_entries) })
    }

    /// Makes an array of one map, of the kind of another.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn create_map_of(name: &str, kind: &Self) -> io::Result<Self> {
        let inner_map_fd = kind.fd.as_raw_fd().cast_unsigned();
        Self::create(name, CreateAttr { inner_map_fd, ..indexed(ARRAY_OF_MAPS, 4, 1) })
    }

    /// Makes an array with a value for each CPU.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn create_counters(
        name: &str,
        value_size: u32,
        max_entries: u32,
    ) -> io::Result<Self> {
        Self::create(name, indexed(PERCPU_ARRAY, value_size, max_entries))
    }

    /// Makes a map of devices, by index; a value is an ifindex.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn create_devices(name: &str, max_entries: u32) -> io::Result<Self> {
        Self::create(name, indexed(DEVMAP, 4, max_entries))
    }

    fn create(name: &str, attr: CreateAttr) -> io::Result<Self> {
        let mut map_name = [0; 16];
        for (to, from) in map_name.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        let attr = CreateAttr { map_name, ..attr };
        // SAFETY: the attribute holds no pointers.
        Self::of(unsafe { descriptor(Command::MapCreate, &attr)? })
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no map.
    pub(in crate::datapath) fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_pin(path)?)
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let info: MapInfo = info(fd.as_fd())?;
        let value = info.value_size as usize;
        let transfer = match info.map_type {
            // BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE.
            5 | PERCPU_ARRAY | 10 | 21 => value.next_multiple_of(8) * possible_cpus()?,
            _ => value,
        };
        Ok(Self { fd, info, transfer })
    }

    /// What the kernel says of it.
    #[must_use]
    pub(in crate::datapath) const fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes that a lookup copies and an update takes.
    #[must_use]
    pub(in crate::datapath) const fn transfer(&self) -> usize {
        self.transfer
    }

    /// Pins the map; the path must not exist.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Copies the value of a key; false where there is none.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size.
    pub(in crate::datapath) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.element(Command::Lookup, key, value.as_mut_ptr() as u64, value.len(), 0)
    }

    /// Copies the value of a key and removes it; false where there is none.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub(in crate::datapath) fn take(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.element(Command::LookupAndDelete, key, value.as_mut_ptr() as u64, value.len(), 0)
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size.
    pub(in crate::datapath) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let found = self.element(Command::Update, key, value.as_ptr() as u64, value.len(), 0)?;
        if found { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    }

    /// Removes a key; false where there was none.
    ///
    /// # Errors
    /// As bpf(2), and where the key has not the map's size.
    pub(in crate::datapath) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.element(Command::Delete, key, 0, self.transfer, 0)
    }

    /// Writes the value of a key that is not there yet; false where it is.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub(in crate::datapath) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        let (value, length) = (value.as_ptr() as u64, value.len());
        match self.element(Command::Update, key, value, length, NOEXIST) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            result => result,
        }
    }

    fn element(
        &self,
        command: Command,
        key: &[u8],
        value: u64,
        value_len: usize,
        flags: u64,
    ) -> io::Result<bool> {
        if key.len() != self.info.key_size as usize || value_len != self.transfer {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let map_fd = self.fd.as_raw_fd().cast_unsigned();
        let attr = ElementAttr { map_fd, _pad: 0, key: key.as_ptr() as u64, value, flags };
        // SAFETY: key and value point to buffers of callers that live through the call, and are as long as the kernel
        // reads or writes for this map, which was just checked; deletion does not look at the value.
        match unsafe { call(command, &attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies the key after `previous` (the first, if none or if it is no longer there); false at the end.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size.
    pub(in crate::datapath) fn next_key(
        &self,
        previous: Option<&[u8]>,
        next: &mut [u8],
    ) -> io::Result<bool> {
        let size = self.info.key_size as usize;
        if next.len() != size || previous.is_some_and(|key| key.len() != size) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let attr = ElementAttr {
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            key: previous.map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        // SAFETY: both buffers have the size of a key, as just checked, and live through the call.
        match unsafe { call(Command::NextKey, &attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All keys, as far as they stay while they are walked over.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn keys(&self) -> io::Result<Vec<Box<[u8]>>> {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut next = vec![0; self.info.key_size as usize];
        while self.next_key(keys.last().map(AsRef::as_ref), &mut next)? {
            keys.push(next.clone().into());
            // A key that goes away while it is passed restarts the walk; twice through the map is enough.
            if keys.len() > 2 * self.info.max_entries as usize {
                break;
            }
        }
        Ok(keys)
    }

    /// Copies the values of consecutive entries of a per-CPU array, from `first` on, as many as the buffer takes;
    /// `values` is a multiple of [`Self::transfer`] long. Needs Linux 5.13.
    ///
    /// # Errors
    /// As bpf(2), and where the map is no per-CPU array or the buffer does not fit.
    pub(in crate::datapath) fn lookup_consecutive(
        &self,
        first: u32,
        values: &mut [u8],
    ) -> io::Result<()> {
        let count = values.len() / self.transfer.max(1);
        let fits = self.info.map_type == PERCPU_ARRAY
            && values.len().is_multiple_of(self.transfer)
            && first as usize + count <= self.info.max_entries as usize;
        if !fits || count == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let previous = first.wrapping_sub(1);
        let mut last = 0_u32;
        let mut keys = vec![0_u32; count];
        let attr = BatchAttr {
            in_batch: if first == 0 { 0 } else { (&raw const previous) as u64 },
            out_batch: (&raw mut last) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: count as u32,
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            ..BatchAttr::default()
        };
        // SAFETY: the kernel writes at most `count` keys of four bytes, `count` values of `transfer` bytes and one index,
        // for which the buffers have room, as checked; all of them live through the call.
        match unsafe { call(Command::LookupBatch, &attr) } {
            Ok(_) => Ok(()),
            // ENOENT: the end of the array was reached, with everything copied.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
