//! NICs: which of the wanted ones exist and are attached.
//!
//! Every NIC has a number in the datapath (its interface index) for as long as it is wanted, kept in the saved state: words of
//! backends name it. A NIC that goes and comes back has a new ifindex, and is attached again under its old number.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use dispatcher_common::reason::Reason;

use crate::{
    api::types::{ApiError, EventKind, Interface, ReasonCount},
    daemon::{clock, reports::Events},
    datapath::{Counters, Datapath},
    model::{NicName, SavedState, XdpMode},
    network::{Link, NetworkEvent},
    reconcile,
};

/// The NICs that are wanted.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Nics {
    /// By name.
    wanted: BTreeMap<String, Nic>,
    /// Modes of NICs that are not attached as configured: by hand, or found so.
    modes: HashMap<String, XdpMode>,
}

/// A NIC that is wanted.
#[derive(Clone, Debug)]
struct Nic {
    /// Its number in the datapath.
    index: u8,
    /// Where the program runs, or is to run.
    mode: XdpMode,
    /// Its link in the kernel, while it exists.
    link: Option<Link>,
    /// ifindex under which the program is attached.
    attached: Option<u32>,
    /// When it was attached or found not to be, in seconds since the epoch.
    since: f64,
    /// Why it is not attached.
    note: Option<String>,
}

impl Nics {
    /// Takes the NICs of the running state: new ones get a number, those that are no longer wanted are detached.
    pub(super) fn adopt(&mut self, saved: &SavedState, datapath: &mut Datapath, events: &Events) {
        let wanted: BTreeSet<&String> = saved.state.interfaces.iter().collect();
        let unwanted: Vec<_> =
            self.wanted.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in unwanted {
            if let Err(error) = datapath.detach(&name) {
                tracing::error!("{name}: cannot be detached: {error}");
            }
            self.wanted.remove(&name);
            self.modes.remove(&name);
            events.log_and_send(EventKind::Detached { interface: name });
        }
        for name in wanted {
            let Some(index) = saved.interface_names.iter().position(|n| n == name) else {
                continue;
            };
            let mode = self.modes.get(name).copied().unwrap_or(saved.applied.xdp_mode);
            self.wanted.entry(name.clone()).or_insert_with(|| Nic {
                index: index as u8,
                mode,
                link: None,
                attached: None,
                since: clock::epoch_seconds(),
                note: Some("not there".to_owned()),
            });
        }
    }

    /// Detaches NICs that an earlier controller attached and that are not wanted any more.
    pub(in crate::daemon) fn detach_unwanted(
        &self,
        datapath: &mut Datapath,
        events: &Events,
    ) -> Result<(), ApiError> {
        for attached in datapath.attached()? {
            if self.contains(&attached.name) || self.has(attached.ifindex) {
                continue;
            }
            datapath.detach(&attached.name)?;
            events.log_and_send(EventKind::Detached { interface: attached.name });
        }
        Ok(())
    }

    /// Sets the mode of a NIC that is not attached as configured. A NIC that runs in another mode is attached again.
    pub(super) fn choose_mode(&mut self, name: &str, mode: XdpMode) {
        self.modes.insert(name.to_owned(), mode);
        if let Some(nic) = self.wanted.get_mut(name).filter(|nic| nic.mode != mode) {
            nic.mode = mode;
            nic.attached = None;
        }
    }

    /// Attaches every NIC that is there and is not attached. Returns the first failure; the others are tried all the same.
    pub(super) fn attach(
        &mut self,
        datapath: &mut Datapath,
        events: &Events,
    ) -> Result<(), ApiError> {
        let mut result = Ok(());
        for (name, nic) in &mut self.wanted {
            if let Err(error) = nic.attach(name, datapath, events) {
                result = result.and(Err(error));
            }
        }
        result
    }

    /// Takes the kernel's links.
    pub(super) fn set_links(&mut self, links: Vec<Link>) {
        let mut by_name: BTreeMap<String, Link> =
            links.into_iter().map(|link| (link.name.clone(), link)).collect();
        for (name, nic) in &mut self.wanted {
            nic.link = by_name.remove(name);
        }
    }

    /// Gives NICs other names: former and present.
    pub(super) fn rename(&mut self, renames: &[(String, String)], datapath: &mut Datapath) {
        // All at once: two may have changed names with each other.
        let taken: Vec<_> = renames
            .iter()
            .filter_map(|(from, to)| Some((to, self.wanted.remove(from)?, self.modes.remove(from))))
            .collect();
        for (from, to) in renames {
            tracing::info!("{from}: is called {to} now");
        }
        for (to, nic, mode) in taken {
            if let Some(link) = &nic.link {
                datapath.rename(link.ifindex, to);
            }
            self.wanted.insert(to.clone(), nic);
            self.modes.extend(mode.map(|mode| (to.clone(), mode)));
        }
    }

    /// Whether a NIC of this name is wanted.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.wanted.contains_key(name)
    }

    /// How many are wanted.
    pub(super) fn count(&self) -> usize {
        self.wanted.len()
    }

    /// The names of the wanted NICs, each with its link in the kernel if it exists.
    pub(super) fn links(&self) -> impl Iterator<Item = (&String, Option<&Link>)> {
        self.wanted.iter().map(|(name, nic)| (name, nic.link.as_ref()))
    }

    /// The link of a NIC in the kernel, if it exists.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.wanted.get(name)?.link.as_ref()
    }

    /// Those that are there, as the tables need them.
    pub(super) fn there(&self) -> Vec<reconcile::Nic> {
        self.wanted.values().filter_map(Nic::table).collect()
    }

    /// Those behind which backends may live: ifindex and name.
    pub(super) fn watched(&self) -> Vec<(u32, String)> {
        self.present().map(|link| (link.ifindex, link.name.clone())).collect()
    }

    /// Those that are attached: ifindex and name.
    pub(super) fn attached(&self) -> BTreeMap<u32, String> {
        let attached = self.wanted.values().filter(|nic| nic.is_attached());
        let links = attached.filter_map(|nic| nic.link.as_ref());
        links.map(|link| (link.ifindex, link.name.clone())).collect()
    }

    /// Whether all are attached.
    pub(in crate::daemon) fn are_attached(&self) -> bool {
        self.wanted.values().all(Nic::is_attached)
    }

    /// Whether one is attached in another mode than this.
    pub(in crate::daemon) fn has_other_mode(&self, mode: XdpMode) -> bool {
        self.wanted.values().any(|nic| nic.is_attached() && nic.mode != mode)
    }

    /// ifindexes of those that are there and down.
    pub(super) fn down(&self) -> BTreeSet<u32> {
        self.present().filter(|link| !link.up).map(|link| link.ifindex).collect()
    }

    /// The name of the one with this ifindex.
    pub(super) fn name(&self, ifindex: u32) -> Option<String> {
        let found = self.present().find(|link| link.ifindex == ifindex);
        found.map(|link| link.name.clone())
    }

    /// Whether a report of the kernel is about one of these; `names`: what the file calls them.
    pub(super) fn is_ours(&self, event: &NetworkEvent, names: &[NicName]) -> bool {
        match event {
            NetworkEvent::LinkChanged(link) => {
                self.wanted.keys().any(|name| link.is_called(name))
                    || names.iter().any(|known| link.is_called(&known.written))
                    || self.has(link.ifindex)
            }
            NetworkEvent::LinkGone { name, .. } => self.contains(name),
            NetworkEvent::AddressGone { .. }
            | NetworkEvent::AddressesChanged
            | NetworkEvent::ReadAgain
            | NetworkEvent::ResolutionChanged { .. } => false,
        }
    }

    /// As the API shows them.
    pub(super) fn view(&self, counters: &Counters) -> Vec<Interface> {
        self.wanted.iter().map(|(name, nic)| nic.view(name, counters)).collect()
    }

    fn has(&self, ifindex: u32) -> bool {
        self.present().any(|link| link.ifindex == ifindex)
    }

    /// Links of those that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = &Link> {
        self.wanted.values().filter_map(|nic| nic.link.as_ref())
    }
}

impl Nic {
    /// Whether the program is attached to the NIC that is there.
    fn is_attached(&self) -> bool {
        self.link.as_ref().is_some_and(|link| self.attached == Some(link.ifindex))
    }

    /// The NIC as the tables need it, while it is there.
    fn table(&self) -> Option<reconcile::Nic> {
        let link = self.link.as_ref()?;
        Some(reconcile::Nic {
            index: self.index,
            name: link.name.clone(),
            ifindex: link.ifindex,
            mac: link.mac,
            mtu: link.mtu,
        })
    }

    /// Attaches it if it is there and not attached yet.
    fn attach(
        &mut self,
        name: &str,
        datapath: &mut Datapath,
        events: &Events,
    ) -> Result<(), ApiError> {
        let interface = name.to_owned();
        let Some(link) = self.link.as_ref() else {
            if self.attached.take().is_some() {
                self.since = clock::epoch_seconds();
                events.log_and_send(EventKind::Detached { interface });
            }
            self.note = Some("not there".to_owned());
            return Ok(());
        };
        if self.attached == Some(link.ifindex) {
            return Ok(());
        }
        let attached = datapath.attach(self.index, name, link.ifindex, self.mode);
        self.since = clock::epoch_seconds();
        match attached {
            Ok(()) => {
                self.attached = Some(link.ifindex);
                self.note = None;
                events.log_and_send(EventKind::Attached { interface, mode: self.mode });
                Ok(())
            }
            Err(error) => {
                self.attached = None;
                self.note = Some(error.to_string());
                tracing::error!("{name}: not attached: {error}");
                Err(error.into())
            }
        }
    }

    fn view(&self, name: &str, counters: &Counters) -> Interface {
        let counted = |reason: &Reason| (*reason, counters.packets(self.index, *reason));
        let reasons: Vec<ReasonCount> = Reason::ALL
            .iter()
            .map(counted)
            .filter(|(_, counts)| counts.packets != 0)
            .map(|(reason, counts)| ReasonCount {
                verdict: Cow::Borrowed(reason.verdict().as_str()),
                reason: Cow::Borrowed(reason.as_str()),
                packets: counts.packets,
                bytes: counts.bytes,
            })
            .collect();
        Interface {
            name: name.to_owned(),
            index: Some(self.index),
            ifindex: self.link.as_ref().map(|link| link.ifindex),
            mac: self.link.as_ref().map(|link| link.mac),
            mode: self.mode,
            attached: self.attached.is_some(),
            since: self.since,
            packets: reasons.iter().map(|r| r.packets).sum(),
            bytes: reasons.iter().map(|r| r.bytes).sum(),
            reasons,
            refused: Vec::new(),
            note: self.note.clone(),
        }
    }
}
