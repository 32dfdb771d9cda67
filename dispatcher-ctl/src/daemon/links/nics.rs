//! NICs: which of those wanted are there and attached.
//!
//! Every NIC has a number in the datapath (its interface index) for as long as it is wanted, kept in the record: words of
//! backends name it. A NIC that goes and comes back has a new ifindex, and is attached again under its old number.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::{clock, core::Core};
use crate::{
    api::types::{ApiError, EventKind},
    model::XdpMode,
    network::{Link, NetworkEvent},
    reconcile::{self, Dirty},
};

/// A NIC that is wanted.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Nic {
    /// Its number in the datapath.
    pub(in crate::daemon) index: u8,
    /// Where the program shall run.
    pub(in crate::daemon) mode: XdpMode,
    /// What the kernel says of it, while it is there.
    pub(in crate::daemon) link: Option<Link>,
    /// ifindex under which the program is attached.
    pub(in crate::daemon) attached: Option<u32>,
    /// Since when that is so, in seconds since the epoch.
    pub(in crate::daemon) since: f64,
    /// Why it is not attached.
    pub(in crate::daemon) note: Option<String>,
}

impl Nic {
    /// Whether the program is attached to the NIC that is there.
    pub(in crate::daemon) fn is_attached(&self) -> bool {
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
}

impl Core {
    /// Makes the set of NICs that of the state: new ones get a number, those no longer wanted are detached.
    pub(in crate::daemon) fn adopt_nics(&mut self) {
        let wanted: BTreeSet<String> = self.record.state.interfaces.iter().cloned().collect();
        let unwanted: Vec<_> =
            self.nics.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in unwanted {
            if let Err(error) = self.datapath.detach(&name) {
                tracing::error!("{name}: cannot be detached: {error}");
            }
            self.nics.remove(&name);
            self.modes.remove(&name);
            self.events.tell(EventKind::Detached { interface: name });
        }
        for name in wanted {
            let Some(index) = self.record.interface_names.iter().position(|n| *n == name) else {
                continue;
            };
            let mode = self.modes.get(&name).copied().unwrap_or(self.record.applied.xdp_mode);
            self.nics.entry(name).or_insert_with(|| Nic {
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
    ///
    /// # Errors
    /// As the kernel.
    pub(in crate::daemon) fn detach_unwanted(&mut self) -> Result<(), ApiError> {
        for attached in self.datapath.attached()? {
            if self.nics.contains_key(&attached.name) || self.has_nic(attached.ifindex) {
                continue;
            }
            self.datapath.detach(&attached.name)?;
            self.events.tell(EventKind::Detached { interface: attached.name });
        }
        Ok(())
    }

    /// Says in which mode a NIC shall be attached, where that is not the configured one. A NIC in another mode is
    /// attached anew.
    pub(in crate::daemon) fn choose_mode(&mut self, name: &str, mode: Option<XdpMode>) {
        let Some(mode) = mode else { return };
        self.modes.insert(name.to_owned(), mode);
        if let Some(nic) = self.nics.get_mut(name).filter(|nic| nic.mode != mode) {
            nic.mode = mode;
            nic.attached = None;
        }
    }

    /// The kernel's name of a NIC, given that or an alternative one. Refuses a NIC that is not there: a misspelt name would go
    /// unnoticed.
    ///
    /// # Errors
    /// There is no such NIC.
    pub(in crate::daemon) async fn require_link(&self, name: &str) -> Result<String, ApiError> {
        let links = self.network.links().await?;
        let found = links.iter().find(|link| link.name == name);
        if let Some(link) = found.or_else(|| links.iter().find(|link| link.is_called(name))) {
            return Ok(link.name.clone());
        }
        let there: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let error = format!("interface {name:?} is not there, expected a NIC of this host");
        Err(ApiError::not_found(error).hint(format!("there are {}", there.join(", "))))
    }

    /// Whether one of the NICs has this ifindex.
    fn has_nic(&self, ifindex: u32) -> bool {
        self.nics.values().filter_map(|nic| nic.link.as_ref()).any(|link| link.ifindex == ifindex)
    }

    /// ifindexes of NICs that are there and down.
    fn down_nics(&self) -> BTreeSet<u32> {
        let there = self.nics.values().filter_map(|nic| nic.link.as_ref());
        there.filter(|link| !link.up).map(|link| link.ifindex).collect()
    }

    /// Takes in which links there are.
    pub(in crate::daemon) fn take_links(&mut self, links: Vec<Link>) {
        self.follow_renames(&links);
        let mut by_name: BTreeMap<String, Link> =
            links.into_iter().map(|link| (link.name.clone(), link)).collect();
        for (name, nic) in &mut self.nics {
            nic.link = by_name.remove(name);
        }
    }

    /// The NICs that are there, as the tables need them.
    pub(in crate::daemon) fn table_nics(&self) -> Vec<reconcile::Nic> {
        self.nics.values().filter_map(Nic::table).collect()
    }

    /// NICs behind which backends may live: ifindex and name.
    pub(in crate::daemon) fn watched_nics(&self) -> Vec<(u32, String)> {
        let links = self.nics.values().filter_map(|nic| nic.link.as_ref());
        links.map(|link| (link.ifindex, link.name.clone())).collect()
    }

    /// Attaches every NIC that is there and is not attached. Returns the first failure; the others are tried all the same.
    pub(in crate::daemon) fn attach_nics(&mut self) -> Result<(), ApiError> {
        let mut result = Ok(());
        let names: Vec<String> = self.nics.keys().cloned().collect();
        for name in names {
            if let Err(error) = self.attach_nic(&name) {
                result = result.and(Err(error));
            }
        }
        result
    }

    /// Attaches a NIC if it is there and not attached yet.
    fn attach_nic(&mut self, name: &str) -> Result<(), ApiError> {
        let Some(nic) = self.nics.get_mut(name) else { return Ok(()) };
        let Some(link) = nic.link.as_ref() else {
            if nic.attached.take().is_some() {
                nic.since = clock::epoch_seconds();
                self.events.tell(EventKind::Detached { interface: name.to_owned() });
            }
            nic.note = Some("not there".to_owned());
            return Ok(());
        };
        if nic.attached == Some(link.ifindex) {
            return Ok(());
        }
        let attached = self.datapath.attach(nic.index, name, link.ifindex, nic.mode);
        nic.since = clock::epoch_seconds();
        match attached {
            Ok(()) => {
                nic.attached = Some(link.ifindex);
                nic.note = None;
                let (interface, mode) = (name.to_owned(), nic.mode);
                self.events.tell(EventKind::Attached { interface, mode });
                Ok(())
            }
            Err(error) => {
                nic.attached = None;
                nic.note = Some(error.to_string());
                tracing::error!("{name}: not attached: {error}");
                Err(error.into())
            }
        }
    }

    /// Follows NICs that came, went or changed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::daemon) async fn links_changed(
        &mut self,
        events: &[NetworkEvent],
    ) -> Result<(), ApiError> {
        let ours = events.iter().any(|event| match event {
            NetworkEvent::LinkChanged(link) => {
                self.nics.keys().any(|name| link.is_called(name))
                    || self.record.nic_names.iter().any(|known| link.is_called(&known.written))
                    || self.has_nic(link.ifindex)
            }
            NetworkEvent::LinkGone { name, .. } => self.nics.contains_key(name),
            NetworkEvent::AddressGone { .. }
            | NetworkEvent::AddressesChanged
            | NetworkEvent::ReadAnew
            | NetworkEvent::ResolutionChanged { .. } => false,
        });
        if !ours {
            return self.publish(&Dirty::All);
        }
        let before = self.table_nics();
        let links = self.network.links().await?;
        let down = self.down_nics();
        self.take_links(links);
        let changed = before != self.table_nics();
        // A NIC that was set down has lost its IPv6 addresses, and its segment may have forgotten the others.
        let is_back = !down.is_subset(&self.down_nics());
        if changed {
            self.watch_backends();
        }
        self.publish(&Dirty::All)?;
        let attached = self.attach_nics();
        self.follow_probes().await;
        self.place_vips(changed || is_back).await;
        attached
    }
}
