//! Finds out whether the network namespace of a pin directory still exists.
//!
//! Pins outlive their namespace: a container that ends leaves the maps' memory behind. `NAMESPACE` is a device map with
//! one entry, the namespace's loopback, which exists exactly as long as the namespace. The kernel removes a deleted
//! device from every device map, and the map itself does not keep the namespace alive: so an empty entry means that the
//! namespace no longer exists. (Links without a NIC do not mean that: a NIC may come back.)

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{bpf::Map, error::DatapathError, pins::PinDir};

/// Name of the pin.
const MARK: &str = "NAMESPACE";
/// The loopback's index in every network namespace (`LOOPBACK_IFINDEX` of the kernel).
const LOOPBACK: u32 = 1;
/// The one entry.
const ENTRY: [u8; 4] = [0; 4];

/// Ties a directory of pins to the calling thread's network namespace, if it is not tied yet.
pub(super) fn mark(pins: &PinDir) -> Result<(), DatapathError> {
    let path = pins.pin(MARK);
    if path.exists() {
        return Ok(());
    }
    // Filled before it is pinned, so that nobody sees it empty while the namespace exists.
    Map::create_devices(MARK, 1)
        .and_then(|map| {
            map.update(&ENTRY, &LOOPBACK.to_ne_bytes())?;
            map.pin(&path)
        })
        .map_err(DatapathError::map(MARK, "make it"))
}

/// Removes the directories of network namespaces that no longer exist from this pin directory, and returns them. Leaves alone
/// directories that a controller holds or that are not marked.
///
/// # Errors
/// As the kernel.
pub fn remove_dead_namespaces(pin_dir: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DatapathError::path("list", pin_dir)(error)),
    };
    let mut removed = Vec::new();
    for entry in entries {
        let path = entry.map_err(DatapathError::path("list", pin_dir))?.path();
        let Some(pins) = PinDir::idle(&path)? else { continue };
        if is_gone(&pins)? {
            pins.remove()?;
            removed.push(path);
        }
    }
    Ok(removed)
}

fn is_gone(pins: &PinDir) -> Result<bool, DatapathError> {
    let path = pins.pin(MARK);
    if !path.exists() {
        return Ok(false);
    }
    let present = Map::open(&path).and_then(|map| map.lookup(&ENTRY, &mut [0; 4]));
    present.map(|present| !present).map_err(DatapathError::map(MARK, "read it"))
}
