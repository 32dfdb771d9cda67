//! Makes the arrays of maps before the object is loaded. The kernel compares the BTF of an array's template with that of each
//! map put into it. Maps made by the loader have BTF, and maps made by tests have none. aya cannot make an array of maps
//! without an object, so this asks bpf(2).

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use aya_obj::generated::{
    bpf_attr,
    bpf_cmd::BPF_MAP_CREATE,
    bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_PERCPU_ARRAY},
};
use dispatcher_common::{
    limits::MAX_SLOTS,
    maps,
    measure::{Exchange, ResponseCounts},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{costs::bpf, measuring::FLAGS};

/// The pins of both arrays, on their own bpffs, which is removed when this value is dropped.
pub(super) struct Outer(PathBuf);

impl Outer {
    /// Makes both arrays and pins them.
    pub(super) fn pinned() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dt-bpf-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir)?;
        mount(Some("bpf"), &dir, Some("bpf"), MsFlags::empty(), None::<&Path>)
            .context("mount a bpf file system")?;
        let outer = Self(dir);
        let (way, slot) = (size_of::<Exchange>() as u32, size_of::<ResponseCounts>() as u32);
        let kinds = [
            (maps::EXCHANGES, BPF_MAP_TYPE_ARRAY, way, 1, FLAGS),
            (maps::RESPONSES, BPF_MAP_TYPE_PERCPU_ARRAY, slot, MAX_SLOTS, 0),
        ];
        for (name, kind, value_size, entries, flags) in kinds {
            let inner = aya_obj::Map::new_from_params(kind as u32, 4, value_size, entries, flags);
            array_of(&MapData::create(inner, name, None)?)?.pin(outer.path(name))?;
        }
        Ok(outer)
    }

    /// Path of a map's pin.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Makes an array of maps for maps like this one, with one element.
fn array_of(inner: &MapData) -> Result<MapData> {
    // SAFETY: a union of integers and of records of integers, for which zero is a valid value.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: this member consists of integers, which are initialised.
    let map = unsafe { &mut attributes.__bindgen_anon_1 };
    map.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS as u32;
    (map.key_size, map.value_size, map.max_entries) = (4, 4, 1);
    map.inner_map_fd = inner.fd().as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: the attributes contain no pointers.
    let map = unsafe { bpf(BPF_MAP_CREATE as _, &mut attributes) }.context("make a map")?;
    // SAFETY: the kernel has just made this descriptor, and nothing else uses it.
    Ok(MapData::from_fd(unsafe { OwnedFd::from_raw_fd(map) })?)
}
