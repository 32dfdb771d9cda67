//! The datapath as the controller holds it: locked, taken over or made, attached to NICs.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use dispatcher_common::{
    connection,
    flow::HASH_KEYS,
    maps::LAYOUT_VERSION,
    settings::{Config, RESET_INTERVAL_NS, Settings},
};
use nix::net::if_::if_indextoname;

use super::{
    affinity::AffinityRecords,
    bpf::{Link, LinkInfo},
    clock::Jiffies,
    connections::ConnectionTable,
    counters::CounterReader,
    error::{DatapathError, LARGEST_NATIVE_MTU},
    kernel::KernelStore,
    load,
    mapped::words,
    maps::{Found, MapSet, inspect},
    namespace,
    pins::{LinkName, PinDir},
    publish::{Changes, Contents, Publisher},
    refusal::{self, Refusal},
    saved::{self, SavedDocuments, SavedTexts},
    sections,
    tables::Tables,
};
use crate::model::XdpMode;

/// Where the maps came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made by this controller, empty.
    Fresh,
    /// Left by an earlier controller, with all their contents.
    TakenOver {
        /// `connections.capacity` that the table was made for; a different configured one has no effect.
        capacity: u64,
    },
}

/// A NIC with the program attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The NIC's name when the program was attached, or found attached.
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

/// The datapath: its lock, its maps and its links. After a drop the kernel's part continues to forward.
#[derive(Debug)]
pub struct Datapath {
    pins: PinDir,
    maps: Arc<MapSet>,
    publisher: Publisher<KernelStore>,
    jiffies: Jiffies,
    /// Interface index and name by ifindex, of NICs this controller attached.
    attached: BTreeMap<u32, (u8, String)>,
    /// Readers of the programs' logs, by ifindex.
    #[cfg(feature = "datapath-log")]
    logs: BTreeMap<u32, super::log::Reader>,
}

impl Datapath {
    /// Takes over the pinned maps of this network namespace, or makes them for this many connections.
    ///
    /// It is the calling thread's network namespace. Removes links of NICs that no longer exist.
    ///
    /// # Errors
    /// Another controller holds the pins, they have another layout, the directory cannot be on a bpffs, or the kernel
    /// refuses something.
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
        let publisher = Publisher::new(KernelStore::new(Arc::clone(&maps)), fresh)?;
        let capacity = publisher.contents().settings.capacity;
        let datapath = Self {
            jiffies: Jiffies::of_kernel()?,
            pins,
            maps,
            publisher,
            attached: BTreeMap::new(),
            #[cfg(feature = "datapath-log")]
            logs: BTreeMap::new(),
        };
        datapath.remove_dead_links()?;
        let origin = if fresh { Origin::Fresh } else { Origin::TakenOver { capacity } };
        Ok((datapath, origin))
    }

    /// The state that a controller last saved here.
    ///
    /// # Errors
    /// As the kernel.
    pub fn saved_state(&self) -> Result<Option<SavedTexts>, DatapathError> {
        saved::read(&self.pins.path)
    }

    /// Where this controller saves its state.
    #[must_use]
    pub fn saved_documents(&self) -> SavedDocuments {
        SavedDocuments::new(self.pins.path.clone())
    }

    /// Attaches the program to a NIC under an interface index. If it is attached already, the program is replaced and no
    /// packet bypasses it; a change of mode detaches first.
    ///
    /// # Errors
    /// The driver refuses, another program is attached, or the kernel refuses something.
    pub fn attach(
        &mut self,
        index: u8,
        name: &str,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<(), DatapathError> {
        let (config, contents) = (self.config(index), self.section_contents());
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
                XdpMode::Native => XDP_FLAGS_DRV_MODE,
                XdpMode::Generic => XDP_FLAGS_SKB_MODE,
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
    /// It is not attached, or the kernel refuses.
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

    /// Records that a NIC was renamed.
    pub fn rename(&mut self, ifindex: u32, name: &str) {
        if let Some((_, known)) = self.attached.get_mut(&ifindex) {
            name.clone_into(known);
        }
    }

    /// The NICs with the program attached, including those that an earlier controller attached.
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

    /// Makes the maps hold the wanted tables; writes only the difference.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn publish(&mut self, wanted: &Tables) -> Result<Changes, DatapathError> {
        self.publisher.publish(wanted)
    }

    /// Turns rules on or off: see [`Publisher::set_active`].
    ///
    /// # Errors
    /// As [`Publisher::set_active`].
    pub fn set_active(&mut self, active: &BTreeMap<u32, bool>) -> Result<Changes, DatapathError> {
        self.publisher.set_active(active)
    }

    /// The contents of the maps.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        self.publisher.contents()
    }

    /// The contents of the maps that are sections of the object; outdated after the next publication.
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

    /// A reader of the counters.
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

    /// Detaches from all NICs and removes all pins and the directory.
    ///
    /// # Errors
    /// As the kernel.
    pub fn remove(&self) -> Result<(), DatapathError> {
        self.pins.remove().map(drop)
    }

    /// The constants of the program for a NIC.
    fn config(&self, index: u8) -> Config {
        let Settings { hash_keys, schedule_keys, buckets, .. } = self.contents().settings;
        Config {
            interface: index.into(),
            bucket_mask: buckets.saturating_sub(1) as u32,
            jiffy_ns: self.jiffies.length_ns,
            jiffies_epoch: self.jiffies.epoch_ns,
            hash_keys,
            schedule_keys,
        }
    }

    /// A link as the kernel describes it; `None` if its NIC no longer exists.
    fn link_info(&self, link: LinkName) -> Result<Option<LinkInfo>, DatapathError> {
        let path = self.pins.pin(&link.file_name());
        let info = Link::open(&path)
            .and_then(|link| link.info())
            .map_err(DatapathError::path("read", path))?;
        Ok((info.ifindex != 0).then_some(info))
    }

    /// Removes links whose NIC no longer exists: no program can be replaced in them.
    fn remove_dead_links(&self) -> Result<(), DatapathError> {
        for link in self.pins.links()? {
            if self.link_info(link)?.is_none() {
                self.pins.unpin(&link.file_name())?;
            }
        }
        Ok(())
    }
}

/// Detaches from all NICs and removes all pins of this network namespace, whatever their version or state. First calls
/// `before` with the saved state, if it exists and can be read.
///
/// # Errors
/// A controller holds the pins, or the kernel refuses.
pub fn remove_all(
    pin_dir: &Path,
    before: impl FnOnce(Option<SavedTexts>),
) -> Result<(), DatapathError> {
    let Some(pins) = PinDir::existing(pin_dir)? else { return Ok(()) };
    before(saved::read(&pins.path).unwrap_or_else(|error| {
        tracing::warn!(%error, "the controller's saved state is lost");
        None
    }));
    pins.remove().map(drop)
}

/// Fills `SETTINGS` of fresh maps; the layout version, its last word, is written last.
fn initialise(maps: &MapSet, capacity: u64) -> Result<(), DatapathError> {
    let mut keys = [0; HASH_KEYS + 2];
    for key in &mut keys {
        *key = getrandom::u64()
            .map_err(io::Error::other)
            .map_err(DatapathError::system("draw random keys"))?;
    }
    let [a, b, hash_keys @ ..] = keys;
    let settings = Settings {
        hash_keys,
        schedule_keys: [a, b],
        buckets: connection::buckets(capacity),
        capacity,
        reset_interval: RESET_INTERVAL_NS,
        layout_version: LAYOUT_VERSION,
        ..Settings::ZERO
    };
    for (place, word) in maps.settings.words().iter().zip(words(std::slice::from_ref(&settings))) {
        place.store(*word, Ordering::Release);
    }
    Ok(())
}

/// Turns maps of the previous layout into maps of this one.
///
/// Such a takeover has three steps. After each of them the datapath forwards, and the next controller can take it over if this one
/// dies:
///
/// 1. Write the version, before anything else. From now on a controller of the previous layout refuses the maps, because
///    it could misread what they will hold.
/// 2. Sweep the table and publish the configuration, as after any start. The programs of the previous layout still run.
///    What they write is valid in this layout, and nobody else has changed a word yet.
/// 3. Replace the program of each NIC, one after the other. An old program does not find a way whose mark a new program has
///    changed: a connection that moves to another NIC between two replacements is an orphan there.
fn raise_version(maps: &MapSet) {
    if let Some(word) = maps.settings.words().last() {
        word.store(LAYOUT_VERSION, Ordering::Release);
    }
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
