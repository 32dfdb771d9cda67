//! The system call, and what maps and links have in common: pins, and records of the kernel about them.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// A record of the kernel about a kind of object.
///
/// # Safety
/// Any bytes must be a valid value: made of integers only.
pub(super) unsafe trait Info: Copy {}

/// Calls bpf(2). `fill` sets the attributes of the command; all others are 0, as the kernel wants it.
///
/// # Safety
/// Pointers in the attributes must be valid for what the command reads and writes through them.
pub(super) unsafe fn call(
    command: bpf_cmd,
    fill: impl FnOnce(&mut bpf_attr),
) -> io::Result<libc::c_long> {
    // SAFETY: a union of integers, for which all-zero is valid.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    fill(&mut attributes);
    let (command, size) = (command as libc::c_long, size_of::<bpf_attr>());
    // SAFETY: the kernel reads and writes `size` bytes of the attributes; for pointers within, the caller answers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Calls bpf(2) for a new descriptor.
///
/// # Safety
/// As [`call`], and the command must return a new descriptor.
pub(super) unsafe fn descriptor(
    command: bpf_cmd,
    fill: impl FnOnce(&mut bpf_attr),
) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is passed on.
    let fd = unsafe { call(command, fill)? };
    // SAFETY: the kernel just made this descriptor for us (with close-on-exec set), nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor as attributes hold it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins an object; the path must not exist.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let fill = |attributes: &mut bpf_attr| {
        attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
        attributes.__bindgen_anon_4.bpf_fd = number(fd);
    };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { call(bpf_cmd::BPF_OBJ_PIN, fill) }.map(drop)
}

/// Opens what is pinned at a path, whatever it is.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let fill =
        |attributes: &mut bpf_attr| attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: the path is a C string that lives through the call, and the command returns a new descriptor.
    unsafe { descriptor(bpf_cmd::BPF_OBJ_GET, fill) }
}

/// The kernel's record about an object; 0 where the kernel says nothing.
pub(super) fn info<T: Info>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: any bytes are a valid `T`, as `Info` promises.
    let mut record: T = unsafe { std::mem::zeroed() };
    let place = &raw mut record;
    let fill = |attributes: &mut bpf_attr| {
        attributes.info.bpf_fd = number(fd);
        attributes.info.info_len = size_of::<T>() as u32;
        attributes.info.info = place as u64;
    };
    // SAFETY: the kernel writes at most `info_len` bytes of the record, and any bytes are a valid one.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, fill)? };
    Ok(record)
}
