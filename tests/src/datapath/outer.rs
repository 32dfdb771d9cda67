//! The arrays of maps, made before the object is loaded. Kernels compare what BTF says of the array that an array of maps was made
//! with and of one that is put into it: those that the loader makes have BTF, those that tests make have none. aya makes no array
//! of maps apart from an object, so this asks bpf(2).

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

/// Pins of both, on a bpffs of their own, which is removed with the value.
pub(super) struct Outer(PathBuf);

impl Outer {
    /// Makes and pins them.
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

    /// Where a map is pinned.
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

/// Makes an array of one map of this kind.
fn array_of(inner: &MapData) -> Result<MapData> {
    // SAFETY: an union of integers and records of them, for which zero is a value.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: integers, which are initialised.
    let map = unsafe { &mut attributes.__bindgen_anon_1 };
    map.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS as u32;
    (map.key_size, map.value_size, map.max_entries) = (4, 4, 1);
    map.inner_map_fd = inner.fd().as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: the attributes point to nothing.
    let map = unsafe { bpf(BPF_MAP_CREATE as _, &mut attributes) }.context("make a map")?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(MapData::from_fd(unsafe { OwnedFd::from_raw_fd(map) })?)
}
