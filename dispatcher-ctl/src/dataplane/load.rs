//! Turns the object into maps and programs: aya does the parsing, relocation and loading.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    EbpfLoader,
    programs::{ProgramError, Xdp},
};
use dispatcher_common::{maps, settings::Config};

use super::{OBJECT, error::DataplaneError};

/// Symbol of the program's constants.
const CONFIG: &str = "CONFIG";
/// Name of the XDP program.
const PROGRAM: &str = "dispatcher";

/// Makes all maps and pins them under their names; existing pins are used as they are.
pub(super) fn make_maps(dir: &Path, buckets: u32) -> Result<(), DataplaneError> {
    pinned(&mut EbpfLoader::new(), dir)
        .map_max_entries(maps::CONNECTIONS, buckets)
        .map_max_entries(maps::FLOWS, buckets)
        .load(OBJECT)
        .map(drop)
        .map_err(DataplaneError::Load)
}

/// Loads the program with the pinned maps and these constants. Nothing else of it is kept.
pub(super) fn load_program(dir: &Path, config: &Config) -> Result<OwnedFd, DataplaneError> {
    let mut ebpf = pinned(&mut EbpfLoader::new(), dir)
        .override_global(CONFIG, config, true)
        .load(OBJECT)
        .map_err(DataplaneError::Load)?;
    let program: &mut Xdp = ebpf
        .program_mut(PROGRAM)
        .ok_or(ProgramError::UnexpectedProgramType)
        .and_then(TryInto::try_into)
        .map_err(DataplaneError::Program)?;
    program.load().map_err(DataplaneError::Program)?;
    let fd = program.fd().map_err(DataplaneError::Program)?;
    fd.as_fd().try_clone_to_owned().map_err(DataplaneError::system("keep the program"))
}

/// Pins every map under its own name.
fn pinned<'l, 'a>(loader: &'l mut EbpfLoader<'a>, dir: &Path) -> &'l mut EbpfLoader<'a> {
    for name in maps::ALL {
        loader.map_pin_path(name, dir.join(name));
    }
    loader
}
