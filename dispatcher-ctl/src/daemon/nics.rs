//! NICs: which of those wanted are there and attached, and the VIPs on them.
//!
//! Every NIC has a number in the datapath (its interface index) for as long as it is wanted, kept in the record: words of
//! backends name it. A NIC that goes and comes back has a new ifindex, and is attached again under its old number.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{clock, core::Core, record::Amendment};
use crate::{
    api::types::{ApiError, EventKind},
    model::{OwnedVip, XdpMode},
    network::{Link, NetworkEvent, VipAdded},
    reconcile,
};

/// A NIC that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Nic {
    /// Its number in the datapath.
    pub(super) index: u8,
    /// Where the program shall run.
    pub(super) mode: XdpMode,
    /// What the kernel says of it, while it is there.
    pub(super) link: Option<Link>,
    /// ifindex under which the program is attached.
    pub(super) attached: Option<u32>,
    /// Since when that is so, in seconds since the epoch.
    pub(super) since: f64,
    /// Why it is not attached.
    pub(super) note: Option<String>,
}

impl Nic {
    /// Whether the program is attached to the NIC that is there.
    pub(super) fn is_attached(&self) -> bool {
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
    pub(super) fn adopt_nics(&mut self) {
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

    /// Says in which mode a NIC shall be attached, where that is not the configured one. A NIC in another mode is
    /// attached anew.
    pub(super) fn choose_mode(&mut self, name: &str, mode: Option<XdpMode>) {
        let Some(mode) = mode else { return };
        self.modes.insert(name.to_owned(), mode);
        if let Some(nic) = self.nics.get_mut(name).filter(|nic| nic.mode != mode) {
            nic.mode = mode;
            nic.attached = None;
        }
    }

    /// Refuses a NIC that is not there: a misspelt name would go unnoticed.
    ///
    /// # Errors
    /// There is no such NIC.
    pub(super) async fn require_link(&self, name: &str) -> Result<(), ApiError> {
        let links = self.network.links().await.map_err(|e| super::start::failed(&e))?;
        if links.iter().any(|link| link.name == name) {
            return Ok(());
        }
        let there: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let error = format!("interface {name:?} is not there, expected a NIC of this host");
        Err(ApiError::not_found(error).hint(format!("there are {}", there.join(", "))))
    }

    /// Takes in which links there are.
    pub(super) fn take_links(&mut self, links: Vec<Link>) {
        let mut by_name: BTreeMap<String, Link> =
            links.into_iter().map(|link| (link.name.clone(), link)).collect();
        for (name, nic) in &mut self.nics {
            nic.link = by_name.remove(name);
        }
    }

    /// The NICs that are there, as the tables need them.
    pub(super) fn table_nics(&self) -> Vec<reconcile::Nic> {
        self.nics.values().filter_map(Nic::table).collect()
    }

    /// NICs behind which backends may live: ifindex and name.
    pub(super) fn watched_nics(&self) -> Vec<(u32, String)> {
        let links = self.nics.values().filter_map(|nic| nic.link.as_ref());
        links.map(|link| (link.ifindex, link.name.clone())).collect()
    }

    /// Attaches every NIC that is there and is not attached. Returns the first failure; the others are tried all the same.
    pub(super) fn attach_nics(&mut self) -> Result<(), ApiError> {
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
                Err(super::start::failed(&error))
            }
        }
    }

    /// Puts VIPs where they belong and takes them from where they do not. `again`: those that are there already, too, and
    /// announces them.
    ///
    /// The record says that a VIP is ours before it is put on a NIC, and until it is gone from it: whenever the controller
    /// dies, the next one knows what to take away.
    pub(super) async fn place_vips(&mut self, again: bool) {
        let wanted = self.wanted_vips();
        let owned: BTreeSet<_> = self.record.vips.iter().cloned().map(key).collect();
        let gone: Vec<_> = owned
            .difference(&wanted)
            .map(|(interface, vip)| OwnedVip { interface: interface.clone(), vip: *vip })
            .collect();
        self.remove_each(&gone).await;
        let added: Vec<_> = wanted.difference(&owned).cloned().collect();
        if !added.is_empty() {
            let vips = added
                .iter()
                .map(|(interface, vip)| OwnedVip { interface: interface.clone(), vip: *vip });
            self.record.vips.extend(vips);
            self.keep_vips();
        }
        let mut foreign = BTreeSet::new();
        // What was once seen to is not asked for again with every change: a request to the kernel for each VIP.
        self.placed.retain(|placed| !again && wanted.contains(placed));
        for place in wanted.difference(&self.placed.clone()) {
            let (interface, vip) = place;
            let new = !owned.contains(place);
            let Some(put) = self.put_vip(interface, *vip, new || again).await else { continue };
            self.placed.insert(place.clone());
            if new && put == VipAdded::AlreadyThere {
                foreign.insert(place.clone());
            }
        }
        if !foreign.is_empty() {
            self.record.vips.retain(|vip| !foreign.contains(&key(vip.clone())));
            self.keep_vips();
        }
    }

    /// Follows NICs that came, went or changed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) async fn links_changed(&mut self, events: &[NetworkEvent]) -> Result<(), ApiError> {
        let ours = events.iter().any(|event| match event {
            NetworkEvent::LinkChanged(link) => self.nics.contains_key(&link.name),
            NetworkEvent::LinkGone { name, .. } => self.nics.contains_key(name),
            NetworkEvent::AddressesChanged | NetworkEvent::ResolutionChanged { .. } => false,
        });
        if !ours {
            return self.publish();
        }
        let before = self.table_nics();
        let links = self.network.links().await.map_err(|e| super::start::failed(&e))?;
        self.take_links(links);
        let changed = before != self.table_nics();
        if changed {
            self.watch_backends();
        }
        self.publish()?;
        let attached = self.attach_nics();
        self.follow_probes().await;
        // A NIC that was set down has lost its IPv6 addresses.
        self.place_vips(changed).await;
        attached
    }

    /// Takes every VIP that is ours off its NIC.
    pub(super) async fn remove_vips(&mut self) {
        self.remove_each(&self.record.vips.clone()).await;
    }

    /// Whether VIPs are where they belong and nowhere else, as far as is known.
    pub(super) fn has_placed_vips(&self) -> bool {
        let wanted = self.wanted_vips();
        let owned = self.record.vips.iter().cloned().map(key);
        wanted.is_subset(&self.placed) && owned.into_iter().all(|vip| wanted.contains(&vip))
    }

    /// NIC and VIP for every VIP on every NIC that is there.
    fn wanted_vips(&self) -> BTreeSet<(String, std::net::IpAddr)> {
        if !self.record.applied.manage_vips {
            return BTreeSet::new();
        }
        let vips = self.record.state.services.iter().map(|s| s.config.vip);
        // A service on any address has none of its own.
        let vips: BTreeSet<_> = vips.filter(|vip| !vip.is_unspecified()).collect();
        let there = self.nics.iter().filter(|(_, nic)| nic.link.is_some());
        there.flat_map(|(name, _)| vips.iter().map(|vip| (name.clone(), *vip))).collect()
    }

    /// Puts a VIP on a NIC and announces it if it was not there or is to be announced anyway. `None`: that has failed.
    async fn put_vip(
        &self,
        interface: &str,
        vip: std::net::IpAddr,
        announce: bool,
    ) -> Option<VipAdded> {
        let link = self.nics.get(interface).and_then(|nic| nic.link.as_ref())?;
        let added = match self.network.add_vip(link.ifindex, vip).await {
            Ok(added) => added,
            Err(error) => {
                tracing::error!("{interface}: VIP {vip} cannot be added: {error}");
                return None;
            }
        };
        if (added == VipAdded::Added || announce)
            && let Err(error) = self.network.announce(link.ifindex, link.mac, vip).await
        {
            tracing::warn!("{interface}: VIP {vip} cannot be announced: {error}");
        }
        Some(added)
    }

    /// Takes VIPs off their NICs; the record says that they are ours until all are gone.
    async fn remove_each(&mut self, gone: &[OwnedVip]) {
        let mut removed = HashSet::new();
        for vip in gone {
            if self.remove_vip(vip).await {
                removed.insert(vip);
            }
        }
        if !removed.is_empty() {
            self.record.vips.retain(|vip| !removed.contains(vip));
            self.keep_vips();
        }
    }

    /// Takes a VIP off its NIC, and says whether it is gone from there.
    async fn remove_vip(&self, gone: &OwnedVip) -> bool {
        let ifindex = self.nics.get(&gone.interface).and_then(|nic| nic.link.as_ref());
        let ifindex = match ifindex {
            Some(link) => Some(link.ifindex),
            // A NIC that is no longer served.
            None => nix::net::if_::if_nametoindex(gone.interface.as_str()).ok(),
        };
        if let Some(ifindex) = ifindex
            && let Err(error) = self.network.remove_vip(ifindex, gone.vip).await
        {
            tracing::error!("{}: VIP {} cannot be removed: {error}", gone.interface, gone.vip);
            return false;
        }
        true
    }

    fn keep_vips(&mut self) {
        let vips = Some(self.record.vips.clone());
        if let Err(error) = self.keep(Some(Amendment { vips, ..Amendment::default() })) {
            tracing::error!("the controller's record cannot be written: {error}");
        }
    }
}

fn key(vip: OwnedVip) -> (String, std::net::IpAddr) {
    (vip.interface, vip.vip)
}
