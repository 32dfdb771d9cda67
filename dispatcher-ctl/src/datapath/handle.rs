//! The datapath as the controller holds it: locked, taken over or made, attached to NICs.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use dispatcher_common::{
    connection::{self, EXPIRY_CLASSES},
    flow::HASH_KEYS,
    maps::LAYOUT_VERSION,
    settings::{Config, RESET_INTERVAL_NS, Settings},
};
use nix::net::if_::if_indextoname;

use super::{
    affinity::AffinityRecords,
    bpf::{Link, LinkInfo, XDP_GENERIC, XDP_NATIVE},
    clock::Jiffies,
    connections::ConnectionTable,
    counters::CounterReader,
    error::{DatapathError, LARGEST_NATIVE_MTU},
    kernel::KernelStore,
    load,
    maps::{Found, MapSet, inspect},
    namespace,
    pins::{LinkName, PinDir},
    publish::{Changes, Contents, Publisher},
    refusal::{self, Refusal},
    saved::{self, SavedDocuments, SavedState},
    sections,
    tables::Tables,
};
use crate::model::XdpMode;

/// Where the maps came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made now, empty.
    Fresh,
    /// Left by an earlier controller, with all they hold.
    TakenOver {
        /// `connections.capacity` that the table was made for; another one asked for is not in force.
        capacity: u64,
    },
}

/// A NIC with the program attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The NIC's name when it was attached, or found attached.
    pub name: String,
    /// The kernel's index of the NIC.
    pub ifindex: u32,
    /// Where in the kernel the program runs.
    pub mode: XdpMode,
    /// Index of the NIC in the datapath; none while an earlier controller's program still runs on it.
    pub index: Option<u8>,
    /// The link's id, as `bpftool link` shows it.
    pub link_id: u32,
    /// The program's id, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// The datapath: its lock, its maps and its links. Dropping it leaves everything at work.
#[derive(Debug)]
pub struct Datapath {
    pins: PinDir,
    maps: Arc<MapSet>,
    publisher: Publisher<KernelStore>,
    /// Interface index and name by ifindex, of NICs this controller attached.
    attached: BTreeMap<u32, (u8, String)>,
    /// Who reads the programs' logs, by ifindex.
    #[cfg(feature = "datapath-log")]
    logs: BTreeMap<u32, super::log::Reader>,
}

impl Datapath {
    /// Takes over the pinned maps of this network namespace, or makes them for this many connections.
    ///
    /// The calling thread's network namespace counts. Links of NICs that are gone are removed.
    ///
    /// # Errors
    /// Where another controller holds the pins, they are of another layout, the directory cannot be on a bpffs, or the
    /// kernel refuses something.
    pub fn open(pin_dir: &Path, capacity: u64) -> Result<(Self, Origin), DatapathError> {
        let pins = PinDir::open(pin_dir)?;
        let fresh = inspect(&pins)? == Found::Nothing;
        if fresh {
            for name in pins.names()? {
                pins.unpin(&name)?;
            }
            let buckets = u32::try_from(connection::buckets(capacity)).map_err(|_| {
                DatapathError::Invalid(format!("capacity {capacity} is more than a map can hold"))
            })?;
            load::make_maps(&pins.path, buckets)?;
        }
        namespace::mark(&pins)?;
        let maps = Arc::new(MapSet::open(&pins.path)?);
        if fresh {
            initialise(&maps, capacity)?;
        } else {
            raise_version(&maps);
        }
        let found = setting(&maps, std::mem::offset_of!(Settings, capacity));
        let publisher = Publisher::new(KernelStore::new(Arc::clone(&maps)), fresh)?;
        let datapath = Self {
            pins,
            maps,
            publisher,
            attached: BTreeMap::new(),
            #[cfg(feature = "datapath-log")]
            logs: BTreeMap::new(),
        };
        datapath.remove_dead_links()?;
        let origin = if fresh { Origin::Fresh } else { Origin::TakenOver { capacity: found } };
        Ok((datapath, origin))
    }

    /// What a controller last saved here.
    ///
    /// # Errors
    /// As the kernel.
    pub fn saved_state(&self) -> Result<Option<SavedState>, DatapathError> {
        saved::read(&self.pins.path)
    }

    /// Where this controller saves what it must not forget.
    #[must_use]
    pub fn saved_documents(&self) -> SavedDocuments {
        SavedDocuments::new(self.pins.path.clone())
    }

    /// Attaches the program to a NIC under an interface index. Where it is attached already, the program is replaced
    /// without a packet passing by; a change of mode detaches first.
    ///
    /// # Errors
    /// Where the driver refuses, another program is attached, or the kernel refuses something.
    pub fn attach(
        &mut self,
        index: u8,
        name: &str,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<(), DatapathError> {
        let (config, contents) = (self.config(index)?, self.section_contents());
        let program = load::load_program(&self.pins.path, &contents, &config, name)?;
        self.remove_dead_links()?;
        let wanted = LinkName { mode, ifindex };
        let file = wanted.file_name();
        let links = self.pins.links()?;
        if links.contains(&wanted) {
            let path = self.pins.pin(&file);
            Link::open(&path)
                .and_then(|link| link.update(program.fd.as_fd()))
                .map_err(DatapathError::path("replace the program of", path))?;
        } else {
            for other in links.iter().filter(|link| link.ifindex == ifindex) {
                self.pins.remove_link(&other.file_name())?;
            }
            let flags = match mode {
                XdpMode::Native => XDP_NATIVE,
                XdpMode::Generic => XDP_GENERIC,
            };
            let link = Link::create(program.fd.as_fd(), ifindex, flags).map_err(|source| {
                let refusal = refusal::explain(program.fd.as_fd(), ifindex, flags);
                refused(name, mode, source, refusal)
            })?;
            let path = self.pins.pin(&file);
            link.pin(&path).map_err(DatapathError::path("pin", path))?;
        }
        self.attached.insert(ifindex, (index, name.to_owned()));
        #[cfg(feature = "datapath-log")]
        self.logs.extend(program.log.map(|log| (ifindex, log)));
        Ok(())
    }

    /// Detaches the program from a NIC.
    ///
    /// # Errors
    /// Where it is not attached, and as the kernel.
    pub fn detach(&mut self, name: &str) -> Result<(), DatapathError> {
        let attached = self.attached()?.into_iter().find(|attached| attached.name == name);
        let attached = attached.ok_or_else(|| DatapathError::NotAttached(name.to_owned()))?;
        let link = LinkName { mode: attached.mode, ifindex: attached.ifindex };
        self.pins.remove_link(&link.file_name())?;
        self.attached.remove(&attached.ifindex);
        #[cfg(feature = "datapath-log")]
        self.logs.remove(&attached.ifindex);
        Ok(())
    }

    /// Notes that a NIC has another name.
    pub fn rename(&mut self, ifindex: u32, name: &str) {
        if let Some((_, known)) = self.attached.get_mut(&ifindex) {
            name.clone_into(known);
        }
    }

    /// The NICs with the program attached, those of an earlier controller included.
    ///
    /// # Errors
    /// As the kernel.
    pub fn attached(&self) -> Result<Vec<Attached>, DatapathError> {
        let mut all = Vec::new();
        for link in self.pins.links()? {
            let Some(info) = self.link_info(link)? else { continue };
            let ours = self.attached.get(&link.ifindex);
            let name = ours.map(|(_, name)| name.clone()).or_else(|| name_of(link.ifindex));
            all.push(Attached {
                name: name.unwrap_or_else(|| format!("if{}", link.ifindex)),
                ifindex: link.ifindex,
                mode: link.mode,
                index: ours.map(|(index, _)| *index),
                link_id: info.id,
                program_id: info.program_id,
            });
        }
        Ok(all)
    }

    /// Makes the maps hold what is wanted, writing differences only.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn publish(&mut self, wanted: &Tables) -> Result<Changes, DatapathError> {
        self.publisher.publish(wanted)
    }

    /// Makes rules hold or not, as far as packets do not tell.
    ///
    /// # Errors
    /// As [`Publisher::set_active`].
    pub fn set_active(&mut self, active: &BTreeMap<u32, bool>) -> Result<Changes, DatapathError> {
        self.publisher.set_active(active)
    }

    /// What the maps hold.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        self.publisher.contents()
    }

    /// What is in the maps that are sections of the object, for as long as nothing is published.
    pub(super) fn section_contents(&self) -> sections::Contents {
        sections::Contents::of(&self.maps)
    }

    /// The kernel's id of the map of redirection targets.
    pub(super) fn devices_id(&self) -> u32 {
        self.maps.devices.info().id
    }

    /// Where the maps are pinned.
    pub(super) fn pins(&self) -> &Path {
        &self.pins.path
    }

    /// The counters' reader.
    #[must_use]
    pub fn counters(&self) -> CounterReader {
        CounterReader::new(Arc::clone(&self.maps))
    }

    /// The affinity records.
    #[must_use]
    pub fn affinity_records(&self) -> AffinityRecords {
        AffinityRecords::new(Arc::clone(&self.maps))
    }

    /// Maps the connection table.
    ///
    /// # Errors
    /// As the kernel.
    pub fn table(&self) -> Result<Arc<ConnectionTable>, DatapathError> {
        ConnectionTable::open(&self.pins.path).map(Arc::new)
    }

    /// Detaches from all NICs and removes everything, the directory included.
    ///
    /// # Errors
    /// As the kernel.
    pub fn remove(&self) -> Result<(), DatapathError> {
        self.pins.remove().map(drop)
    }

    /// The constants of the program for a NIC.
    fn config(&self, index: u8) -> Result<Config, DatapathError> {
        let Jiffies { length_ns, epoch_ns } = Jiffies::of_kernel()?;
        let interface = u32::from(index);
        let mut config =
            Config { interface, jiffy_ns: length_ns, jiffies_epoch: epoch_ns, ..Config::ZERO };
        if let Some(settings) = self.maps.settings.entry(0) {
            let word = |i: usize| settings[i].load(Ordering::Relaxed);
            let keys = std::mem::offset_of!(Settings, hash_keys) / 8;
            config.hash_keys = std::array::from_fn(|i| word(keys + i));
            let keys = std::mem::offset_of!(Settings, schedule_keys) / 8;
            config.schedule_keys = std::array::from_fn(|i| word(keys + i));
            let buckets = word(std::mem::offset_of!(Settings, buckets) / 8);
            config.bucket_mask = buckets.saturating_sub(1) as u32;
        }
        Ok(config)
    }

    /// What the kernel says of a link; none where its NIC is gone.
    fn link_info(&self, link: LinkName) -> Result<Option<LinkInfo>, DatapathError> {
        let path = self.pins.pin(&link.file_name());
        let info = Link::open(&path)
            .and_then(|link| link.info())
            .map_err(DatapathError::path("read", path))?;
        Ok((info.ifindex != 0).then_some(info))
    }

    /// Removes links whose NIC is gone: there is nothing to replace a program in.
    fn remove_dead_links(&self) -> Result<(), DatapathError> {
        for link in self.pins.links()? {
            if self.link_info(link)?.is_none() {
                self.pins.unpin(&link.file_name())?;
            }
        }
        Ok(())
    }
}

/// Detaches from all NICs and removes all pins of this network namespace, of whatever version or state. `before` is
/// given the saved state, if there is one and it can be read, while everything is still in place.
///
/// # Errors
/// Where a controller holds the pins, and as the kernel.
pub fn remove_all(
    pin_dir: &Path,
    before: impl FnOnce(Option<SavedState>),
) -> Result<(), DatapathError> {
    let Some(pins) = PinDir::existing(pin_dir)? else { return Ok(()) };
    before(saved::read(&pins.path).unwrap_or_else(|error| {
        tracing::warn!(%error, "the controller's record is lost");
        None
    }));
    pins.remove().map(drop)
}

/// Fills `SETTINGS` of fresh maps; the layout version is written last.
fn initialise(maps: &MapSet, capacity: u64) -> Result<(), DatapathError> {
    let mut random = [0; 8 * (HASH_KEYS + 2)];
    getrandom::fill(&mut random)
        .map_err(io::Error::other)
        .map_err(DatapathError::system("draw random keys"))?;
    let mut keys = random.chunks_exact(8).map(|bytes| {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    });
    let mut key = || keys.next().unwrap_or_default();
    let settings = Settings {
        hash_keys: std::array::from_fn(|_| key()),
        schedule_keys: std::array::from_fn(|_| key()),
        buckets: connection::buckets(capacity),
        capacity,
        expiry_ticks: [0; EXPIRY_CLASSES],
        reset_interval: RESET_INTERVAL_NS,
        layout_version: LAYOUT_VERSION,
        ..Settings::ZERO
    };
    let Some(words) = maps.settings.entry(0) else { return Ok(()) };
    let fields = [
        (std::mem::offset_of!(Settings, hash_keys), settings.hash_keys.as_slice()),
        (std::mem::offset_of!(Settings, schedule_keys), &settings.schedule_keys),
        (std::mem::offset_of!(Settings, buckets), &[settings.buckets]),
        (std::mem::offset_of!(Settings, capacity), &[settings.capacity]),
        (std::mem::offset_of!(Settings, reset_interval), &[settings.reset_interval]),
        (std::mem::offset_of!(Settings, layout_version), &[settings.layout_version]),
    ];
    for (offset, values) in fields {
        for (place, value) in words[offset / 8..].iter().zip(values) {
            place.store(*value, Ordering::Release);
        }
    }
    Ok(())
}

/// Makes maps of the layout before those of this one.
///
/// The order of such a takeover, of which each step leaves a datapath that forwards and that the next controller takes over,
/// should this one die:
///
/// 1. The version is written, before anything else: from here on a controller of the layout before refuses the maps, which
///    may soon hold what it would misread.
/// 2. The controller sweeps the table, and publishes what is configured, as ever. The programs of the layout before run on.
///    What they write is right in this layout, and nothing but them has changed a word yet.
/// 3. The program of each NIC is replaced, one after the other. A way that a new program has marked otherwise than the hash is
///    not found by an old one: a connection that changes its NIC in the moment between two replacements is an orphan there.
fn raise_version(maps: &MapSet) {
    if let Some(words) = maps.settings.entry(0) {
        words[std::mem::offset_of!(Settings, layout_version) / 8]
            .store(LAYOUT_VERSION, Ordering::Release);
    }
}

fn setting(maps: &MapSet, offset: usize) -> u64 {
    maps.settings.entry(0).map_or(0, |words| words[offset / 8].load(Ordering::Relaxed))
}

fn name_of(ifindex: u32) -> Option<String> {
    if_indextoname(ifindex).ok().map(|name| name.to_string_lossy().into_owned())
}

/// Why the kernel did not attach.
fn refused(interface: &str, mode: XdpMode, source: io::Error, refusal: Refusal) -> DatapathError {
    let interface = interface.to_owned();
    let Refusal { words, mtu } = refusal;
    let is_of_mtu = match &words {
        // A veth checks the MTU of its other end, which may be in another namespace.
        Some(words) => words.to_ascii_lowercase().contains("mtu"),
        None => mtu.is_some_and(|mtu| mtu > LARGEST_NATIVE_MTU),
    };
    match (source.raw_os_error(), mtu) {
        (Some(libc::EBUSY | libc::EEXIST), _) => DatapathError::Occupied { interface },
        (Some(libc::ENODEV | libc::EPERM), _) => {
            DatapathError::Attach { interface, mode, words, source }
        }
        (_, Some(mtu)) if mode == XdpMode::Native && is_of_mtu => {
            DatapathError::MtuTooLarge { interface, mtu, words, source }
        }
        _ if mode == XdpMode::Native => DatapathError::NativeRefused { interface, words, source },
        _ => DatapathError::Attach { interface, mode, words, source },
    }
}
