//! The system call, and what maps and links have in common: pins and what the kernel says of them.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Commands of bpf(2), by the kernel's numbers (include/uapi/linux/bpf.h, `enum bpf_cmd`).
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    Lookup = 1,
    Update = 2,
    Delete = 3,
    NextKey = 4,
    Load = 5,
    Pin = 6,
    Get = 7,
    Run = 10,
    Info = 15,
    LookupAndDelete = 21,
    LookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
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

/// The head of what the kernel says of a kind of object.
///
/// # Safety
/// Any bytes must be a valid value: made of integers only, without padding.
pub(super) unsafe trait Info: Default + Copy {}

/// Calls bpf(2).
///
/// # Safety
/// Pointers in the attribute must be valid for what the command reads and writes through them.
pub(super) unsafe fn call<T>(command: Command, attr: &T) -> io::Result<i64> {
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
pub(super) unsafe fn descriptor<T>(command: Command, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is passed on.
    let fd = unsafe { call(command, attr)? };
    // SAFETY: the kernel just made this descriptor for us (with close-on-exec set), nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins an object; the path must not exist.
///
/// # Errors
/// As bpf(2).
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let attr = PathAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { call(Command::Pin, &attr) }.map(drop)
}

/// Opens what is pinned at a path, whatever it is.
///
/// # Errors
/// As bpf(2).
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let attr = PathAttr { pathname: path.as_ptr() as u64, ..PathAttr::default() };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { descriptor(Command::Get, &attr) }
}

/// What the kernel says of an object.
///
/// # Errors
/// As bpf(2).
pub(super) fn info<T: Info>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut value = T::default();
    let attr = InfoAttr {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: size_of::<T>() as u32,
        info: (&raw mut value) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes, and any bytes are a valid value of `T`, as `Info` has it.
    unsafe { call(Command::Info, &attr)? };
    Ok(value)
}
