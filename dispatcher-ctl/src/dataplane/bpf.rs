//! bpf(2): maps and links as owned descriptors, every call checked against what the kernel says of the map.
//!
//! aya loads the object; this is what it does not offer: links without its fallback to netlink (which leaves nothing to
//! pin), batches over per-CPU arrays, and buffers whose size is known only at runtime. This file and `mapped.rs` are the
//! only ones with `unsafe` in them.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_F_MMAPABLE`: user space may map the array.
pub(super) const MMAPABLE: u32 = 1 << 10;
/// `BPF_MAP_TYPE_ARRAY`.
pub(super) const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const PERCPU_ARRAY: u32 = 6;
/// `XDP_FLAGS_SKB_MODE`: in the network stack.
pub(super) const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: in the driver.
pub(super) const XDP_NATIVE: u32 = 1 << 2;
/// `BPF_XDP`, the attach type.
const ATTACH_XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;

/// Commands of bpf(2), by the kernel's numbers (include/uapi/linux/bpf.h, `enum bpf_cmd`).
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    Lookup = 1,
    Update = 2,
    Delete = 3,
    NextKey = 4,
    Pin = 6,
    Get = 7,
    Info = 15,
    LookupAndDelete = 21,
    LookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

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

#[repr(C)]
#[derive(Default)]
struct PathAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkDetachAttr {
    link_fd: u32,
}

/// What the kernel says of a map (the head of `struct bpf_map_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapInfo {
    /// `enum bpf_map_type`.
    pub(super) map_type: u32,
    /// The map's id, as `bpftool map` shows it.
    pub(super) id: u32,
    /// Bytes of a key.
    pub(super) key_size: u32,
    /// Bytes of a value (of one CPU).
    pub(super) value_size: u32,
    /// Entries it was made for.
    pub(super) max_entries: u32,
    /// `BPF_F_*`.
    pub(super) map_flags: u32,
}

/// What the kernel says of an XDP link (the head of `struct bpf_link_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkInfo {
    link_type: u32,
    /// The link's id, as `bpftool link` shows it.
    pub(super) id: u32,
    /// The id of the program it runs.
    pub(super) program_id: u32,
    _pad: u32,
    /// The NIC's ifindex; 0 once the NIC is gone.
    pub(super) ifindex: u32,
    _rest: u32,
}

/// A map, with what the kernel says of it.
#[derive(Debug)]
pub(super) struct Map {
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
    pub(super) fn create_array(name: &str, value_size: u32, max_entries: u32) -> io::Result<Self> {
        let mut map_name = [0; 16];
        for (to, from) in map_name.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        let attr = CreateAttr {
            map_type: ARRAY,
            key_size: 4,
            value_size,
            max_entries,
            map_flags: MMAPABLE,
            map_name,
            ..CreateAttr::default()
        };
        // SAFETY: the attribute holds no pointers.
        Self::of(unsafe { descriptor(Command::MapCreate, &attr)? })
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no map.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
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
    pub(super) const fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes that a lookup copies and an update takes.
    #[must_use]
    pub(super) const fn transfer(&self) -> usize {
        self.transfer
    }

    /// Pins the map; the path must not exist.
    ///
    /// # Errors
    /// As bpf(2).
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Copies the value of a key; false where there is none.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size.
    pub(super) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.element(Command::Lookup, key, value.as_mut_ptr() as u64, value.len(), 0)
    }

    /// Copies the value of a key and removes it; false where there is none.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub(super) fn take(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.element(Command::LookupAndDelete, key, value.as_mut_ptr() as u64, value.len(), 0)
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// As bpf(2), and where a buffer has not the map's size.
    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let found = self.element(Command::Update, key, value.as_ptr() as u64, value.len(), 0)?;
        if found { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    }

    /// Removes a key; false where there was none.
    ///
    /// # Errors
    /// As bpf(2), and where the key has not the map's size.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.element(Command::Delete, key, 0, self.transfer, 0)
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
    pub(super) fn next_key(&self, previous: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
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
    pub(super) fn keys(&self) -> io::Result<Vec<Box<[u8]>>> {
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
    pub(super) fn lookup_consecutive(&self, first: u32, values: &mut [u8]) -> io::Result<()> {
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

/// An XDP link: the attachment of a program to a NIC.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches a program to a NIC; `mode` is [`XDP_NATIVE`] or [`XDP_GENERIC`].
    ///
    /// # Errors
    /// As bpf(2): `EOPNOTSUPP` and others from the driver, `EBUSY` or `EEXIST` where a program is attached already.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<Self> {
        let attr = LinkCreateAttr {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: ifindex,
            attach_type: ATTACH_XDP,
            flags: mode,
        };
        // SAFETY: the attribute holds no pointers.
        Ok(Self { fd: unsafe { descriptor(Command::LinkCreate, &attr)? } })
    }

    /// Opens a pinned link.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no XDP link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let link = Self { fd: open_pin(path)? };
        if link.info()?.link_type == LINK_TYPE_XDP {
            Ok(link)
        } else {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// As bpf(2).
    pub(super) fn info(&self) -> io::Result<LinkInfo> {
        info(self.fd.as_fd())
    }

    /// Pins the link; the path must not exist.
    ///
    /// # Errors
    /// As bpf(2).
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Replaces the program without a packet passing by: each sees either the old one or the new one.
    ///
    /// # Errors
    /// As bpf(2); `ENOLINK` once the NIC is gone.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attr = LinkUpdateAttr {
            link_fd: self.fd.as_raw_fd().cast_unsigned(),
            new_prog_fd: program.as_raw_fd().cast_unsigned(),
            ..LinkUpdateAttr::default()
        };
        // SAFETY: the attribute holds no pointers.
        unsafe { call(Command::LinkUpdate, &attr) }.map(drop)
    }

    /// Detaches the program now, whoever else holds the link.
    ///
    /// # Errors
    /// As bpf(2).
    pub(super) fn detach(&self) -> io::Result<()> {
        let attr = LinkDetachAttr { link_fd: self.fd.as_raw_fd().cast_unsigned() };
        // SAFETY: the attribute holds no pointers.
        unsafe { call(Command::LinkDetach, &attr) }.map(drop)
    }
}

/// CPUs the kernel could have: per-CPU maps have a value for each.
///
/// # Errors
/// Where the kernel's list cannot be read.
pub(super) fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let attr = PathAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { call(Command::Pin, &attr) }.map(drop)
}

fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let attr = PathAttr { pathname: path.as_ptr() as u64, ..PathAttr::default() };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { descriptor(Command::Get, &attr) }
}

/// What the kernel says of a map or link; `T` is [`MapInfo`] or [`LinkInfo`].
fn info<T: Default + Copy>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut value = T::default();
    let attr = InfoAttr {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: size_of::<T>() as u32,
        info: (&raw mut value) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes, and any bytes are a valid value of both types, which are made of
    // integers only.
    unsafe { call(Command::Info, &attr)? };
    Ok(value)
}

/// Calls bpf(2).
///
/// # Safety
/// Pointers in the attribute must be valid for what the command reads and writes through them.
unsafe fn call<T>(command: Command, attr: &T) -> io::Result<i64> {
    let (command, size) = (command as libc::c_long, size_of::<T>());
    // SAFETY: the attribute is readable for `size` bytes; for pointers within, the caller answers. The kernel writes
    // into the attribute only for batches (`count`), where a stale copy in a register would not be missed.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Calls bpf(2) for a new descriptor.
///
/// # Safety
/// As [`call`], and the command must return a new descriptor.
unsafe fn descriptor<T>(command: Command, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is passed on.
    let fd = unsafe { call(command, attr)? };
    // SAFETY: the kernel just made this descriptor for us (with close-on-exec set), nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The cookie of the network namespace a socket is in: unique until reboot (`SO_NETNS_COOKIE`, Linux 5.14).
///
/// # Errors
/// As getsockopt(2).
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option's value is written to `cookie`, whose size `length` says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Waits until every CPU has left what it was in: no packet still uses what it read from a map before
/// (`MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, and XDP programs run within RCU's read side).
///
/// # Errors
/// As membarrier(2): `EINVAL` where the kernel runs CPUs without ticks (`nohz_full`).
pub(super) fn wait_for_readers() -> io::Result<()> {
    // SAFETY: membarrier(2) touches no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0_u32, 0_i32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
