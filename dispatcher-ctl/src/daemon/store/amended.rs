//! The former format of the saved state, before each service was a document: the JSON of a [`SavedState`], and amendments to it.

use std::collections::HashMap;

use serde::{Deserialize, de::Error as _};

use crate::model::{OwnedVip, RetiredSlot, SavedState, Service, ServiceConfig, Shared};

/// The parts of a saved state that changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amendment {
    /// Services of the file as last applied, which replace those of the same names.
    #[serde(default)]
    applied: Vec<Shared<ServiceConfig>>,
    /// Services that run, which replace those of the same ids.
    #[serde(default)]
    running: Vec<Shared<Service>>,
    /// All VIPs that the controller put on NICs.
    #[serde(default)]
    vips: Option<Vec<OwnedVip>>,
    /// All slots that are retired.
    #[serde(default)]
    retired_slots: Option<Vec<RetiredSlot>>,
}

/// A saved state with its amendments.
///
/// # Errors
/// It is not understood.
pub(super) fn read(document: &[u8], amendments: &[Vec<u8>]) -> serde_json::Result<SavedState> {
    let mut saved: SavedState = serde_json::from_slice(document)?;
    let (applied, state) = (&saved.applied.services, &saved.state.services);
    let by_name: HashMap<_, _> = applied.iter().map(|s| s.name.clone()).zip(0..).collect();
    let by_id: HashMap<u32, usize> = state.iter().map(|s| s.id).zip(0..).collect();
    let unknown = || serde_json::Error::custom("an amendment names an unknown service");
    for amendment in amendments {
        let Amendment { applied, running, vips, retired_slots } =
            serde_json::from_slice(amendment)?;
        for service in applied {
            let at = *by_name.get(&service.name).ok_or_else(unknown)?;
            saved.applied.services[at] = service;
        }
        for service in running {
            let at = *by_id.get(&service.id).ok_or_else(unknown)?;
            saved.state.services[at] = service;
        }
        saved.vips = vips.unwrap_or(saved.vips);
        saved.retired_slots = retired_slots.unwrap_or(saved.retired_slots);
    }
    Ok(saved)
}
