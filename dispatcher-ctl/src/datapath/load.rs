//! Turns the object into maps and programs: aya does the parsing, relocation and loading.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, MapData, MapError},
    programs::{self, ProgramError, Xdp},
};
use dispatcher_common::{maps, settings::Config};
use nix::sys::signal::{SigSet, SigmaskHow};

use super::{
    OBJECT,
    error::DatapathError,
    measurement,
    sections::{self, Contents},
};

/// Symbol of the program's constants.
const CONFIG: &str = "CONFIG";
/// Name of the XDP program.
const PROGRAM: &str = "dispatcher";

/// Makes all maps and pins them under their names; uses existing pins as they are.
pub(super) fn make_maps(dir: &Path, buckets: u32) -> Result<(), DatapathError> {
    measurement::make(dir)?;
    sections::make(dir)?;
    let (mut loader, contents) = (EbpfLoader::new(), Contents::empty());
    pinned(&mut loader, dir, &contents)
        .map_max_entries(maps::CONNECTIONS, buckets)
        .map_max_entries(maps::FLOWS, buckets);
    undisturbed(|| loader.load(OBJECT)).map(drop).map_err(DatapathError::Load)
}

/// A program in the kernel.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fd: OwnedFd,
    /// The reader of its log.
    #[cfg(feature = "datapath-log")]
    pub(super) log: Option<super::log::Reader>,
}

/// Loads the program for a NIC, with the pinned maps and these constants; keeps nothing else of the object.
#[cfg_attr(not(feature = "datapath-log"), expect(unused_variables, reason = "its log names it"))]
pub(super) fn load_program(
    dir: &Path,
    contents: &Contents,
    config: &Config,
    interface: &str,
) -> Result<Program, DatapathError> {
    let mut loader = EbpfLoader::new();
    pinned(&mut loader, dir, contents).override_global(CONFIG, config, true);
    #[cfg(not(feature = "datapath-log"))]
    let object = OBJECT;
    #[cfg(feature = "datapath-log")]
    let level = super::log::Level::wanted();
    #[cfg(feature = "datapath-log")]
    let object = level.as_ref().map_or(OBJECT, |level| level.set(&mut loader));
    let mut ebpf = undisturbed(|| loader.load(object)).map_err(DatapathError::Load)?;
    let program: &mut Xdp = program(&mut ebpf, PROGRAM)?;
    undisturbed(|| program.load()).map_err(DatapathError::Program)?;
    let fd = program.fd().map_err(DatapathError::Program)?;
    let fd = fd.as_fd().try_clone_to_owned().map_err(DatapathError::system("keep the program"))?;
    Ok(Program {
        fd,
        #[cfg(feature = "datapath-log")]
        log: match level {
            Some(_) => super::log::Reader::start(&mut ebpf, interface)?,
            None => None,
        },
    })
}

/// Loads the object with the pinned maps, for programs that serve no packets of clients.
pub(super) fn load_object(dir: &Path, contents: &Contents) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    pinned(&mut loader, dir, contents);
    undisturbed(|| loader.load(OBJECT)).map_err(DatapathError::Load)
}

/// A program of an object, by its name.
pub(super) fn program<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut P, DatapathError>
where
    &'e mut P: TryFrom<&'e mut programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(ProgramError::UnexpectedProgramType)
        .and_then(TryInto::try_into)
        .map_err(DatapathError::Program)
}

/// Takes a hash map out of an object.
pub(super) fn take_hash<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, DatapathError> {
    let map =
        ebpf.take_map(name).ok_or(DatapathError::Program(ProgramError::UnexpectedProgramType));
    HashMap::try_from(map?)
        .map_err(|error: MapError| DatapathError::map(name, "open it")(io::Error::other(error)))
}

/// Does work while signals are blocked in this thread. The verifier gives up when a signal arrives (`EAGAIN`), and every command that
/// the controller runs sends one when it ends; another thread receives it.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    // If signals cannot be blocked, the work may be interrupted.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let done = work();
    let _best_effort = before.and_then(|mask| mask.thread_set_mask());
    done
}

/// Pins every map under its own name; sections keep their contents.
fn pinned<'l, 'a>(
    loader: &'l mut EbpfLoader<'a>,
    dir: &Path,
    contents: &'a Contents,
) -> &'l mut EbpfLoader<'a> {
    for name in maps::ALL {
        loader.map_pin_path(name, dir.join(name));
    }
    contents.keep(loader, dir);
    loader
}
