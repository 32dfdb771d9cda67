//! Maps: made, opened, pinned, and their entries read and written as bytes.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    ptr,
};

use aya_obj::generated::{
    BPF_F_MMAPABLE, BPF_NOEXIST, bpf_attr, bpf_cmd, bpf_map_info, bpf_map_type,
};

use super::{
    call::{Info, call, descriptor, info, number, open_pin, pin},
    system::possible_cpus,
};

/// Maps with a value for each CPU.
const PER_CPU: [bpf_map_type; 4] = [
    bpf_map_type::BPF_MAP_TYPE_PERCPU_HASH,
    bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
    bpf_map_type::BPF_MAP_TYPE_LRU_PERCPU_HASH,
    bpf_map_type::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED,
];

// SAFETY: made of integers only.
unsafe impl Info for bpf_map_info {}

/// A map, with what the kernel says of it.
#[derive(Debug)]
pub(in crate::datapath) struct Map {
    fd: OwnedFd,
    info: bpf_map_info,
    /// Bytes that a lookup copies: the value, or for per-CPU maps one value for each possible CPU, each rounded up to 8.
    transfer: usize,
}

impl Map {
    /// Makes an array that user space may map. With `BPF_F_INNER_MAP` in `flags`, it may be put into an array of maps that was made
    /// with an array of another size.
    pub(in crate::datapath) fn create_array(
        name: &str,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    ) -> io::Result<Self> {
        let kind = bpf_map_type::BPF_MAP_TYPE_ARRAY;
        Self::create(name, kind, value_size, max_entries, |attributes| {
            attributes.__bindgen_anon_1.map_flags = BPF_F_MMAPABLE | flags;
        })
    }

    /// Makes an array of one map, of the kind of another.
    pub(in crate::datapath) fn create_map_of(name: &str, inner: &Self) -> io::Result<Self> {
        let kind = bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS;
        Self::create(name, kind, 4, 1, |attributes| {
            attributes.__bindgen_anon_1.inner_map_fd = number(inner.as_fd());
        })
    }

    /// Makes an array with a value for each CPU.
    pub(in crate::datapath) fn create_counters(
        name: &str,
        value_size: u32,
        max_entries: u32,
    ) -> io::Result<Self> {
        let kind = bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY;
        Self::create(name, kind, value_size, max_entries, |_| ())
    }

    /// Makes a map of devices, by index; a value is an ifindex.
    pub(in crate::datapath) fn create_devices(name: &str, max_entries: u32) -> io::Result<Self> {
        Self::create(name, bpf_map_type::BPF_MAP_TYPE_DEVMAP, 4, max_entries, |_| ())
    }

    /// Makes a map whose keys are indices.
    fn create(
        name: &str,
        kind: bpf_map_type,
        value_size: u32,
        max_entries: u32,
        fill: impl FnOnce(&mut bpf_attr),
    ) -> io::Result<Self> {
        let mut map_name = [0; 16];
        for (to, from) in map_name.iter_mut().take(15).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let fill = |attributes: &mut bpf_attr| {
            attributes.__bindgen_anon_1.map_type = kind as u32;
            attributes.__bindgen_anon_1.key_size = 4;
            attributes.__bindgen_anon_1.value_size = value_size;
            attributes.__bindgen_anon_1.max_entries = max_entries;
            attributes.__bindgen_anon_1.map_name = map_name;
            fill(attributes);
        };
        // SAFETY: the attributes hold no pointers, and the command returns a new descriptor.
        Self::of(unsafe { descriptor(bpf_cmd::BPF_MAP_CREATE, fill)? })
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no map.
    pub(in crate::datapath) fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_pin(path)?)
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let info: bpf_map_info = info(fd.as_fd())?;
        let value = info.value_size as usize;
        let is_per_cpu = PER_CPU.iter().any(|kind| *kind as u32 == info.type_);
        let transfer =
            if is_per_cpu { value.next_multiple_of(8) * possible_cpus()? } else { value };
        Ok(Self { fd, info, transfer })
    }

    /// What the kernel says of it.
    #[must_use]
    pub(in crate::datapath) const fn info(&self) -> &bpf_map_info {
        &self.info
    }

    /// Bytes that a lookup copies and an update takes.
    #[must_use]
    pub(in crate::datapath) const fn transfer(&self) -> usize {
        self.transfer
    }

    /// Pins the map; the path must not exist.
    pub(in crate::datapath) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Copies the value of a key; false where there is none.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size; so for all below.
    pub(in crate::datapath) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.read(bpf_cmd::BPF_MAP_LOOKUP_ELEM, key, value)
    }

    /// Copies the value of a key and removes it; false where there is none.
    pub(in crate::datapath) fn take(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.read(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_ELEM, key, value)
    }

    fn read(&self, command: bpf_cmd, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check(key.len(), value.len())?;
        // SAFETY: both buffers are as long as the kernel reads and writes for this map.
        unsafe { self.element(command, key.as_ptr(), value.as_mut_ptr(), 0) }
    }

    /// Writes the value of a key.
    pub(in crate::datapath) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let found = self.write(key, value, 0)?;
        if found { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    }

    /// Writes the value of a key that is not there yet; false where it is.
    pub(in crate::datapath) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        match self.write(key, value, BPF_NOEXIST.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            result => result,
        }
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<bool> {
        self.check(key.len(), value.len())?;
        let command = bpf_cmd::BPF_MAP_UPDATE_ELEM;
        // SAFETY: both buffers are as long as the kernel reads for this map.
        unsafe { self.element(command, key.as_ptr(), value.as_ptr(), flags) }
    }

    /// Removes a key; false where there was none.
    pub(in crate::datapath) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key.len(), self.transfer)?;
        // SAFETY: the key is as long as the kernel reads for this map; it does not look at the value.
        unsafe { self.element(bpf_cmd::BPF_MAP_DELETE_ELEM, key.as_ptr(), ptr::null(), 0) }
    }

    /// Copies the key after `previous` (the first, if none or if it is no longer there); false at the end.
    pub(in crate::datapath) fn next_key(
        &self,
        previous: Option<&[u8]>,
        next: &mut [u8],
    ) -> io::Result<bool> {
        self.check(next.len(), self.transfer)?;
        self.check(previous.map_or(next.len(), <[u8]>::len), self.transfer)?;
        let previous = previous.map_or(ptr::null(), <[u8]>::as_ptr);
        // SAFETY: both buffers are as long as a key of this map; the next key takes the place of a value.
        unsafe { self.element(bpf_cmd::BPF_MAP_GET_NEXT_KEY, previous, next.as_mut_ptr(), 0) }
    }

    /// Whether buffers for a key and a value have this map's size.
    fn check(&self, key: usize, value: usize) -> io::Result<()> {
        if key == self.info.key_size as usize && value == self.transfer {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Calls bpf(2) for one entry; false where there is none.
    ///
    /// # Safety
    /// Key and value must be valid for what the command reads and writes.
    unsafe fn element(
        &self,
        command: bpf_cmd,
        key: *const u8,
        value: *const u8,
        flags: u64,
    ) -> io::Result<bool> {
        let fill = |attributes: &mut bpf_attr| {
            attributes.__bindgen_anon_2.map_fd = number(self.fd.as_fd());
            attributes.__bindgen_anon_2.key = key as u64;
            attributes.__bindgen_anon_2.__bindgen_anon_1.value = value as u64;
            attributes.__bindgen_anon_2.flags = flags;
        };
        // SAFETY: the caller's promise is passed on.
        found(unsafe { call(command, fill) })
    }

    /// All keys, as far as they stay while they are walked over.
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
        let fits = self.info.type_ == bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY as u32
            && values.len().is_multiple_of(self.transfer)
            && first as usize + count <= self.info.max_entries as usize;
        if !fits || count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (previous, mut last) = (first.wrapping_sub(1), 0_u32);
        let (before, after) = (&raw const previous, &raw mut last);
        let mut keys = vec![0_u32; count];
        let fill = |attributes: &mut bpf_attr| {
            attributes.batch.in_batch = if first == 0 { 0 } else { before as u64 };
            attributes.batch.out_batch = after as u64;
            attributes.batch.keys = keys.as_mut_ptr() as u64;
            attributes.batch.values = values.as_mut_ptr() as u64;
            attributes.batch.count = count as u32;
            attributes.batch.map_fd = number(self.fd.as_fd());
        };
        // SAFETY: the kernel writes at most `count` keys of four bytes, `count` values of `transfer` bytes and one index,
        // for which the buffers have room, as checked; all of them live through the call. Not found: the end of the array
        // was reached, with everything copied.
        found(unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, fill) }).map(drop)
    }
}

/// Whether there is such an entry.
fn found(result: io::Result<libc::c_long>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
