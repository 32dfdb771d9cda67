//! The set of pinned maps: checks that it is complete and of a known layout, and opens each map with its type.

use std::{io, path::Path};

use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    limits,
    maps::{self, LAYOUT_BEFORE, LAYOUT_VERSION},
    measure::MeasureWindow,
    rule::{Condition, Rule},
    service::{Policy, SCHEDULE_PACK, ServiceState},
    settings::Settings,
};

use super::{
    bpf::Map,
    error::DatapathError,
    mapped::{Mapped, mapped, open},
    measurement::Measurement,
    pins::PinDir,
};

/// The address filter's one value.
pub(super) type FilterWords = [u64; limits::ADDRESS_FILTER_BITS as usize / 64];
/// One element of the schedule pool.
pub(super) type SchedulePack = [u16; SCHEDULE_PACK];

/// The maps that the controller writes, and those with counters; `connections` opens those of the connection table.
#[derive(Debug)]
pub(super) struct MapSet {
    pub(super) settings: Mapped<Settings>,
    pub(super) address_filter: Mapped<FilterWords>,
    pub(super) vips: Map,
    pub(super) services: Map,
    pub(super) policies: Mapped<Policy>,
    pub(super) affinity: Map,
    pub(super) peers: Map,
    pub(super) service_state: Mapped<ServiceState>,
    pub(super) schedules: Mapped<SchedulePack>,
    pub(super) rules: Mapped<Rule>,
    pub(super) conditions: Mapped<Condition>,
    pub(super) backends: Mapped<BackendValue>,
    pub(super) interfaces: Mapped<InterfaceValue>,
    pub(super) devices: Map,
    pub(super) packet_counts: Map,
    pub(super) backend_counts: Map,
    pub(super) service_counts: Map,
    pub(super) windows: Mapped<MeasureWindow>,
    pub(super) measurement: Measurement,
}

/// The contents of a pin directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or an incomplete set that nothing is attached to: it is replaced.
    Nothing,
    /// A complete set of this layout, or of the previous one.
    Whole,
}

impl MapSet {
    /// Opens and maps all of them.
    pub(super) fn open(dir: &Path) -> Result<Self, DatapathError> {
        Ok(Self {
            settings: mapped(dir, maps::SETTINGS)?,
            address_filter: mapped(dir, maps::ADDRESS_FILTER)?,
            vips: open(dir, maps::VIPS)?,
            services: open(dir, maps::SERVICES)?,
            policies: mapped(dir, maps::POLICIES)?,
            affinity: open(dir, maps::AFFINITY)?,
            peers: open(dir, maps::PEERS)?,
            service_state: mapped(dir, maps::SERVICE_STATE)?,
            schedules: mapped(dir, maps::SCHEDULES)?,
            rules: mapped(dir, maps::RULES)?,
            conditions: mapped(dir, maps::CONDITIONS)?,
            backends: mapped(dir, maps::BACKENDS)?,
            interfaces: mapped(dir, maps::INTERFACES)?,
            devices: open(dir, maps::DEVICES)?,
            packet_counts: open(dir, maps::PACKET_COUNTS)?,
            backend_counts: open(dir, maps::BACKEND_COUNTS)?,
            service_counts: open(dir, maps::SERVICE_COUNTS)?,
            windows: mapped(dir, maps::WINDOWS)?,
            measurement: Measurement::open(dir)?,
        })
    }
}

/// Inspects the pins.
///
/// # Errors
/// They must not be touched: another layout, or an incomplete set that a program uses.
pub(super) fn inspect(pins: &PinDir) -> Result<Found, DatapathError> {
    let names = pins.names()?;
    let has = |name: &str| names.iter().any(|pinned| pinned == name);
    let missing: Vec<_> = maps::ALL.into_iter().filter(|name| !has(name)).collect();
    let version = if has(maps::SETTINGS) { layout_version(&pins.path)? } else { Some(0) };
    let attached = names.iter().any(|name| name.starts_with("LINK"));
    match version {
        Some(LAYOUT_BEFORE | LAYOUT_VERSION) if missing.is_empty() => Ok(Found::Whole),
        Some(0 | LAYOUT_BEFORE | LAYOUT_VERSION) if !attached => Ok(Found::Nothing),
        Some(0 | LAYOUT_BEFORE | LAYOUT_VERSION) => Err(DatapathError::Broken {
            dir: pins.path.clone(),
            what: if missing.is_empty() {
                "their set-up was interrupted".to_owned()
            } else {
                format!("{} missing", missing.join(", "))
            },
        }),
        Some(found) if found > LAYOUT_VERSION => {
            Err(DatapathError::Newer { dir: pins.path.clone(), found })
        }
        Some(found) => Err(DatapathError::Layout { dir: pins.path.clone(), found }),
        None => Err(DatapathError::Broken {
            dir: pins.path.clone(),
            what: format!("{} is no map of this program", maps::SETTINGS),
        }),
    }
}

/// The layout version: the last word of `SETTINGS`, in every layout. `None` if this is no such map.
fn layout_version(dir: &Path) -> Result<Option<u64>, DatapathError> {
    let settings = open(dir, maps::SETTINGS)?;
    let mut value = vec![0; settings.transfer()];
    let failed = DatapathError::map(maps::SETTINGS, "read it");
    match settings.lookup(&0_u32.to_ne_bytes(), &mut value) {
        Ok(true) => Ok(value.last_chunk().map(|word| u64::from_ne_bytes(*word))),
        Ok(false) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
