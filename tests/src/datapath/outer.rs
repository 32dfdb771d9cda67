//! The arrays of maps, made before the object is loaded: kernels compare what BTF says of the array that an array of maps was
//! made with and of one that is put into it. Those that the loader makes have some, those that tests make have none.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use dispatcher_common::{
    limits::MAX_SLOTS,
    maps,
    measure::{Exchange, ResponseCounts},
};

use super::measuring::FLAGS;

const MAP_CREATE: libc::c_int = 0;
const OBJ_PIN: libc::c_int = 6;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const ARRAY_OF_MAPS: u32 = 12;

/// Pins of both, on a bpffs of their own, which goes with the value.
pub(super) struct Outer(PathBuf);

#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
}

#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

impl Outer {
    /// Makes and pins them.
    pub(super) fn pinned() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dt-bpf-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir)?;
        mount(&dir).context("mount a bpf file system")?;
        let outer = Self(dir);
        let kind = |map_type, value_size, max_entries, flags| {
            create(&Create { map_type, key_size: 4, value_size, max_entries, flags, inner: 0 })
        };
        let ways = kind(ARRAY, size_of::<Exchange>() as u32, 1, FLAGS)?;
        let slots = kind(PERCPU_ARRAY, size_of::<ResponseCounts>() as u32, MAX_SLOTS, 0)?;
        for (name, inner) in [(maps::EXCHANGES, &ways), (maps::RESPONSES, &slots)] {
            let inner = inner.as_raw_fd().cast_unsigned();
            let (map_type, key_size, value_size, max_entries, flags) = (ARRAY_OF_MAPS, 4, 4, 1, 0);
            let map = Create { map_type, key_size, value_size, max_entries, flags, inner };
            pin(&create(&map)?, &outer.path(name))?;
        }
        Ok(outer)
    }

    /// Where a map is pinned.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Ok(dir) = c_string(&self.0) {
            // SAFETY: the string lives through the call.
            unsafe { libc::umount2(dir.as_ptr(), libc::MNT_DETACH) };
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn c_string(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

fn mount(dir: &Path) -> Result<()> {
    let dir = c_string(dir)?;
    // SAFETY: all strings live through the call; there is no data.
    let done =
        unsafe { libc::mount(c"bpf".as_ptr(), dir.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

fn create(attr: &Create) -> Result<OwnedFd> {
    // SAFETY: the kernel reads as much of the attribute as it is told, and takes the rest for zero.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, &raw const *attr, size_of::<Create>()) };
    let fd = i32::try_from(fd)?;
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("make a map");
    }
    // SAFETY: the kernel just gave this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pin(map: &OwnedFd, path: &Path) -> Result<()> {
    let path = c_string(path)?;
    let fd = map.as_raw_fd().cast_unsigned();
    let attr = Pin { path: path.as_ptr() as u64, fd, flags: 0 };
    // SAFETY: as for `create`; the path lives through the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, OBJ_PIN, &raw const attr, size_of::<Pin>()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("pin a map") }
}
