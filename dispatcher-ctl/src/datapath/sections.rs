//! The maps that are sections of the object, whose values a loader writes.
//!
//! Loading a program makes aya overwrite these maps with the object's (empty) sections, even pinned ones that packets are
//! looked up in. So the loader gets their current contents. Nobody else writes meanwhile: only the [`Datapath`](super::Datapath)
//! publishes, and it is borrowed while a program is loaded. Writing the same bytes again is harmless, even if it is
//! interrupted.

use std::{path::Path, sync::atomic::Ordering};

use aya::EbpfLoader;
use dispatcher_common::maps::{ADDRESS_FILTER, BACKENDS, INTERFACES, SECTIONS, Section};

use super::{bpf::Map, error::DatapathError, maps::MapSet};

/// Makes and pins empty ones.
pub(super) fn make(dir: &Path) -> Result<(), DatapathError> {
    for Section { name, bytes, .. } in SECTIONS {
        Map::create_array(name, bytes, 1, 0)
            .and_then(|map| map.pin(&dir.join(name)))
            .map_err(DatapathError::map(name, "make it"))?;
    }
    Ok(())
}

/// Their contents.
#[derive(Debug)]
pub(super) struct Contents([(Section, Vec<u8>); SECTIONS.len()]);

impl Contents {
    /// Empty sections.
    pub(super) fn empty() -> Self {
        Self(SECTIONS.map(|section| (section, vec![0; section.bytes as usize])))
    }

    /// The contents of these maps.
    pub(super) fn of(maps: &MapSet) -> Self {
        Self(SECTIONS.map(|section| {
            let words = match section.name {
                ADDRESS_FILTER => maps.address_filter.words(),
                BACKENDS => maps.backends.words(),
                INTERFACES => maps.interfaces.words(),
                _ => &[],
            };
            let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
            (section, bytes.collect())
        }))
    }

    /// Makes a loader use the pinned maps and keep their contents.
    pub(super) fn keep<'a>(&'a self, loader: &mut EbpfLoader<'a>, dir: &Path) {
        for (Section { name, section, .. }, bytes) in &self.0 {
            loader.map_pin_path(section, dir.join(name));
            loader.override_global(name, bytes.as_slice(), true);
        }
    }
}
