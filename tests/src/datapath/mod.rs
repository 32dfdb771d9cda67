//! The datapath loaded into the kernel, and its results for single packets.
//!
//! Loads the object into the kernel, unpinned and not attached, fills its maps from a [`World`], and runs packets through it
//! with `BPF_PROG_TEST_RUN`. `reading` reads what the datapath left in its maps. Of the controller only two parts are used:
//! the object's bytes, and its reading of the kernel's clock.

use std::{borrow::Cow, env, fs, sync::OnceLock};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, MapData},
    programs::{ProgramError, ProgramFd, Xdp},
};
use dispatcher_common::{flow::HASH_KEYS, maps, settings::Config};
use dispatcher_ctl::datapath::clock::Jiffies;

mod costs;
mod filling;
pub mod mapped;
mod measuring;
mod outer;
mod passing;
mod pool;
mod probing;
mod reading;
mod sections;
mod world;

pub use costs::{Costs, Size};
pub use measuring::this_window;
pub use probing::{ProbeProgram, tc_action};
pub use reading::{Counts, Place};
pub use world::{Backend, CLIENT, CLIENT6, Interface, Rule, Service, VIP, VIP6, World, usable};

/// The datapath in the kernel, with its maps.
pub struct Datapath {
    ebpf: Ebpf,
    sections: sections::Sections,
    config: Config,
    overflow: u32,
    is_large: bool,
    devices: Vec<(u32, u32)>,
    next_ring: u32,
    measuring: Option<measuring::Measuring>,
    next_condition: u32,
}

/// The result of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program's return value, an `xdp_action`.
    pub action: u32,
    /// The frame as the program left it.
    pub bytes: Vec<u8>,
}

/// `xdp_action` values.
pub mod action {
    /// Discarded.
    pub const DROP: u32 = 1;
    /// Passed to the kernel.
    pub const PASS: u32 = 2;
    /// Sent out of the NIC on which it arrived.
    pub const TX: u32 = 3;
    /// Sent out of another NIC.
    pub const REDIRECT: u32 = 4;
}

impl Datapath {
    /// Loads the object and fills its maps.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a call; if the verifier refuses a program, the error contains its log.
    pub fn load(world: &World) -> Result<Self> {
        ensure!(world.buckets.is_power_of_two(), "buckets {}: a power of two", world.buckets);
        let config = config(world)?;
        let outer = outer::Outer::pinned()?;
        let mut ebpf = EbpfLoader::new()
            .map_pin_path(maps::EXCHANGES, outer.path(maps::EXCHANGES))
            .map_pin_path(maps::RESPONSES, outer.path(maps::RESPONSES))
            .override_global("CONFIG", &config, true)
            .map_max_entries(maps::CONNECTIONS, world.buckets)
            .map_max_entries(maps::FLOWS, world.buckets)
            .map_max_entries(maps::OVERFLOW, world.overflow)
            .load(&object()?)
            .context("cannot load the object")?;
        let program: &mut Xdp =
            ebpf.program_mut("dispatcher").context("no program dispatcher")?.try_into()?;
        program.load().context("cannot load the program")?;
        let overflow = world.overflow;
        let devices = devices(world);
        let mut datapath = Self {
            ebpf,
            sections: sections::Sections::empty(),
            config,
            overflow,
            is_large: world.is_large(),
            devices,
            next_ring: 0,
            next_condition: 0,
            measuring: None,
        };
        datapath.fill(world)?;
        Ok(datapath)
    }

    /// Runs a frame through the program.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the frame, for example because it is shorter than an Ethernet header.
    pub fn run(&self, frame: &[u8]) -> Result<Run> {
        self.run_times(frame, 1)
    }

    /// Runs the same frame repeatedly, each time as the previous run left it.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_times(&self, frame: &[u8], times: u32) -> Result<Run> {
        let program: &Xdp =
            self.ebpf.program("dispatcher").context("no program dispatcher")?.try_into()?;
        // Room for a program that makes a frame longer: this must be seen, not cut off.
        let mut bytes = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            repeat: times,
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).map_err(|error: ProgramError| {
            anyhow::Error::new(error).context(format!("test run of {} bytes", frame.len()))
        })?;
        bytes.truncate(result.data_size_out as usize);
        Ok(Run { action: result.return_value, bytes })
    }

    /// The loaded program, for a map of programs.
    ///
    /// # Errors
    ///
    /// When the program is not loaded.
    pub fn program(&self) -> Result<&ProgramFd> {
        let program: &Xdp =
            self.ebpf.program("dispatcher").context("no program dispatcher")?.try_into()?;
        Ok(program.fd()?)
    }

    /// The kernel's information about the loaded program.
    ///
    /// # Errors
    ///
    /// Errors of the kernel.
    pub fn program_info(&self) -> Result<aya::programs::ProgramInfo> {
        let program: &Xdp =
            self.ebpf.program("dispatcher").context("no program dispatcher")?.try_into()?;
        Ok(program.info()?)
    }

    /// Index of the NIC for which the program was loaded.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        self.config.interface
    }

    /// Keys of the table's hash.
    #[must_use]
    pub const fn hash_keys(&self) -> &[u64; HASH_KEYS] {
        &self.config.hash_keys
    }

    fn array<T: Pod>(&self, name: &str) -> Result<Array<&MapData, T>> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        Array::try_from(map).with_context(|| format!("map {name}"))
    }

    fn array_mut<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Array::try_from(map).with_context(|| format!("map {name}"))
    }

    fn hash<K: Pod, V: Pod>(&self, name: &str) -> Result<HashMap<&MapData, K, V>> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        HashMap::try_from(map).with_context(|| format!("map {name}"))
    }

    fn hash_mut<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        HashMap::try_from(map).with_context(|| format!("map {name}"))
    }
}

/// The object under test: the one that the controller carries, or the file that `DISPATCHER_OBJECT` names.
///
/// # Errors
///
/// When that file cannot be read.
pub fn object() -> Result<Cow<'static, [u8]>> {
    match env::var_os("DISPATCHER_OBJECT") {
        None => Ok(Cow::Borrowed(dispatcher_ctl::datapath::OBJECT)),
        Some(path) => {
            let bytes = fs::read(&path).with_context(|| format!("DISPATCHER_OBJECT={path:?}"))?;
            Ok(Cow::Owned(bytes))
        }
    }
}

/// The program's constants for this world.
fn config(world: &World) -> Result<Config> {
    let jiffies = jiffies()?;
    Ok(Config {
        bucket_mask: world.buckets - 1,
        interface: world.interface,
        jiffy_ns: jiffies.length_ns,
        jiffies_epoch: jiffies.epoch_ns,
        hash_keys: world.hash_keys,
        schedule_keys: world.schedule_keys,
    })
}

/// The clock's relation to jiffies, found once: a second reading may differ by a jiffy.
fn jiffies() -> Result<Jiffies> {
    static FOUND: OnceLock<Jiffies> = OnceLock::new();
    if let Some(jiffies) = FOUND.get() {
        return Ok(*jiffies);
    }
    let found = Jiffies::of_kernel()?;
    Ok(*FOUND.get_or_init(|| found))
}

/// The redirection targets of this world: interface index and ifindex.
fn devices(world: &World) -> Vec<(u32, u32)> {
    let real = world.interfaces.iter().filter(|interface| interface.ifindex != 0);
    real.map(|interface| (interface.index, interface.ifindex)).collect()
}

/// Whether this process may load the object. Prints why not; with `DISPATCHER_REQUIRE_BPF=1` that is a failure.
///
/// # Panics
///
/// When the object cannot be loaded although the environment requires it.
#[must_use]
pub fn available() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let reason = if unsafe { libc::geteuid() } != 0 {
        "not root"
    } else if !aya::sys::is_map_supported(aya::maps::MapType::Array).unwrap_or(false) {
        "the kernel refuses to make a BPF map"
    } else {
        return true;
    };
    let required = env::var_os("DISPATCHER_REQUIRE_BPF").is_some_and(|value| value == "1");
    assert!(!required, "DISPATCHER_REQUIRE_BPF=1, but: {reason}");
    eprintln!("skipped: {reason}");
    false
}
