//! Maps as memory: words that change while packets pass on another CPU.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use dispatcher_common::{
    connection::{STAMP_BITS, TICK_SHIFT, WAYS, Way},
    limits::MAX_SERVICES,
    maps,
    service::Policy,
};

use super::Datapath;

/// An array map's values as memory: words in order.
pub struct Mapped {
    words: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the mapping belongs to this value until it is dropped, and is only accessed as atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above; atomics may be shared.
unsafe impl Sync for Mapped {}

impl Datapath {
    /// The connection table: its ways, in order.
    ///
    /// # Errors
    ///
    /// Errors of mmap(2).
    pub fn mapped_table(&self) -> Result<Mapped> {
        self.mapped(maps::CONNECTIONS, (self.config.bucket_mask as usize + 1) * WAYS)
    }

    /// The policies: eight words each, the schedule first.
    ///
    /// # Errors
    ///
    /// Errors of mmap(2).
    pub fn mapped_policies(&self) -> Result<Mapped> {
        self.mapped(maps::POLICIES, MAX_SERVICES as usize * size_of::<Policy>() / 8)
    }

    fn mapped(&self, name: &str, length: usize) -> Result<Mapped> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        let Map::Array(data) = map else { bail!("map {name}: not an array") };
        Mapped::new(data, name, length)
    }
}

impl Mapped {
    /// Maps this many words of an array.
    ///
    /// # Errors
    ///
    /// Errors of mmap(2).
    pub fn new(data: &MapData, name: &str, length: usize) -> Result<Self> {
        // SAFETY: a fresh shared mapping of the array's values, at an address the kernel chooses; the kernel checks its
        // length against the map.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot map {name}"));
        }
        Ok(Self { words: NonNull::new(at.cast()).context("mapped at 0")?, length })
    }

    /// The words.
    #[must_use]
    pub const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `length` words long, page-aligned, and lives as long as `self`. The memory of an array map is
        // initialised, and the datapath changes it by whole words only.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `new` made the mapping with this length, and nothing else unmaps it.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.length * 8) };
    }
}

/// The present time, in ticks of the clock with which the datapath stamps ways.
#[must_use]
pub fn now() -> u64 {
    now_ns() >> TICK_SHIFT
}

/// The present time, in nanoseconds of that clock.
#[must_use]
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The same way, stamped this many ticks ago.
#[must_use]
pub fn aged(way: Way, ticks: u64) -> Way {
    let stamp = now().wrapping_sub(ticks) & ((1 << STAMP_BITS) - 1);
    Way(way.0 & !(((1 << STAMP_BITS) - 1) << 16) | stamp << 16)
}
