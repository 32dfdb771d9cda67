//! VIPs on NICs: put there, announced, followed ([`lost`]), and taken away.
//!
//! The record says that a VIP is ours before it is put on a NIC, and until it is gone from it: whenever the controller dies, the
//! next one knows what to take away. An address that somebody else put there is left alone.

mod contest;
mod lost;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::Instant,
};

use self::contest::Contest;
use super::{clock, core::Core};
use crate::{api::types::EventKind, model::OwnedVip, network::VipAdded};

/// A VIP on a NIC, by the NIC's name.
pub(super) type Place = (String, IpAddr);

/// What is known of VIPs on NICs.
#[derive(Debug, Default)]
pub(super) struct Vips {
    /// Those that this controller has seen to.
    placed: BTreeSet<Place>,
    /// Those that were lost lately.
    contests: BTreeMap<Place, Contest>,
    /// Addresses of somebody else's that are VIPs, and are gone: what is the matter.
    missed: BTreeMap<Place, (&'static str, Instant)>,
    /// When it was last looked whether all are there; none: it is to be looked soon.
    looked: Option<Instant>,
}

impl Vips {
    /// Has it looked with the next tick whether all are there.
    pub(super) const fn look_soon(&mut self) {
        self.looked = None;
    }
}

impl Core {
    /// Puts VIPs where they belong and takes them from where they do not. `again`: those that are there already, too, and
    /// announces them.
    pub(super) async fn place_vips(&mut self, again: bool) {
        let wanted = self.wanted_vips();
        let owned = self.owned_vips();
        let gone: Vec<_> = owned.difference(&wanted).cloned().map(owned_vip).collect();
        self.remove_each(&gone).await;
        // What was once seen to is not asked for again with every change.
        self.vips.placed.retain(|placed| !again && wanted.contains(placed));
        let open: Vec<Place> = wanted.difference(&self.vips.placed).cloned().collect();
        if open.is_empty() {
            return;
        }
        let held: HashSet<_> = match self.network.held().await {
            Ok(held) => held.iter().map(|held| (held.ifindex, held.address)).collect(),
            Err(error) => {
                tracing::error!("VIPs cannot be seen to: {error}");
                return;
            }
        };
        let is_there = |core: &Self, place: &Place| {
            core.ifindex(&place.0).is_some_and(|ifindex| held.contains(&(ifindex, place.1)))
        };
        let is_new = |place: &&Place| !owned.contains(*place);
        let added: Vec<Place> =
            open.iter().filter(is_new).filter(|p| !is_there(self, p)).cloned().collect();
        if !added.is_empty() {
            self.record.note(|record| record.vips.extend(added.iter().cloned().map(owned_vip)));
        }
        let mut foreign = BTreeSet::new();
        for place in &open {
            let found = is_there(self, place);
            if found && (again || is_new(&place)) {
                self.announce_vip(place).await;
            }
            if !found {
                match self.put_vip(place).await {
                    Some(VipAdded::Added) if !is_new(&place) => self.tell_found_missing(place),
                    Some(VipAdded::AlreadyThere) if is_new(&place) => {
                        foreign.insert(place.clone());
                    }
                    Some(VipAdded::Added | VipAdded::AlreadyThere) => {}
                    None => continue,
                }
            }
            self.vips.placed.insert(place.clone());
        }
        if !foreign.is_empty() {
            let is_ours = |vip: &OwnedVip| !foreign.contains(&key(vip.clone()));
            self.record.note(|record| record.vips.retain(is_ours));
        }
    }

    /// Puts VIPs that are missing where somebody else had them.
    pub(super) async fn add_missed_vips(&mut self) {
        if !self.vips.missed.is_empty() {
            self.place_vips(false).await;
            self.vips.look_soon();
        }
    }

    /// Takes every VIP that is ours off its NIC.
    pub(super) async fn remove_vips(&mut self) {
        self.remove_each(&self.record.vips.clone()).await;
    }

    /// Whether VIPs are where they belong and nowhere else, as far as is known.
    pub(super) fn has_placed_vips(&self) -> bool {
        let wanted = self.wanted_vips();
        let owned = self.record.vips.iter().cloned().map(key);
        wanted.is_subset(&self.vips.placed) && owned.into_iter().all(|vip| wanted.contains(&vip))
    }

    /// Takes in that NICs have other names: former and present.
    pub(super) fn rename_vips(&mut self, renames: &[(String, String)]) {
        let renamed = |(name, vip): Place| {
            let found = renames.iter().find(|(from, _)| *from == name);
            (found.map_or(name, |(_, to)| to.clone()), vip)
        };
        let vips = std::mem::take(&mut self.vips);
        self.vips = Vips {
            placed: vips.placed.into_iter().map(renamed).collect(),
            contests: vips.contests.into_iter().map(|(p, c)| (renamed(p), c)).collect(),
            missed: vips.missed.into_iter().map(|(p, m)| (renamed(p), m)).collect(),
            looked: None,
        };
    }

    fn tell_found_missing(&mut self, place: &Place) {
        let (interface, vip) = place.clone();
        tracing::info!("{interface}: VIP {vip} was missing, put back");
        let event = EventKind::VipRestored { interface, vip, losses: 1, taken_by: None };
        self.events.tell_readers(event);
    }

    /// NIC and VIP for every VIP on every NIC that is there.
    fn wanted_vips(&self) -> BTreeSet<Place> {
        if !self.record.applied.manage_vips {
            return BTreeSet::new();
        }
        let vips = self.record.state.services.iter().map(|s| s.config.vip);
        // A service on any address has none of its own.
        let vips: BTreeSet<_> = vips.filter(|vip| !vip.is_unspecified()).collect();
        let there = self.nics.iter().filter(|(_, nic)| nic.link.is_some());
        there.flat_map(|(name, _)| vips.iter().map(|vip| (name.clone(), *vip))).collect()
    }

    fn owned_vips(&self) -> BTreeSet<Place> {
        self.record.vips.iter().cloned().map(key).collect()
    }

    fn ifindex(&self, interface: &str) -> Option<u32> {
        self.nics.get(interface)?.link.as_ref().map(|link| link.ifindex)
    }

    /// Puts a VIP on a NIC and announces it. `None`: that has failed, and will be tried again.
    async fn put_vip(&mut self, place: &Place) -> Option<VipAdded> {
        let (interface, vip) = place;
        let ifindex = self.ifindex(interface)?;
        match self.network.put_vip(ifindex, *vip).await {
            Ok(put) => {
                self.announce_vip(place).await;
                Some(put)
            }
            Err(error) => {
                let now = clock::now();
                let contests = &mut self.vips.contests;
                let contest = contests.entry(place.clone()).or_insert_with(|| Contest::new(now));
                contest.missing(now);
                if contest.failed(now, error.to_string()) {
                    tracing::error!("{interface}: VIP {vip} cannot be added: {error}");
                }
                None
            }
        }
    }

    async fn announce_vip(&self, (interface, vip): &Place) {
        let link = self.nics.get(interface).and_then(|nic| nic.link.as_ref());
        let Some(link) = link else { return };
        if let Err(error) = self.network.announce(link.ifindex, link.mac, *vip).await {
            tracing::warn!("{interface}: VIP {vip} cannot be announced: {error}");
        }
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
            self.record.note(|record| record.vips.retain(|vip| !removed.contains(vip)));
        }
    }

    /// Takes a VIP off its NIC, and says whether it is gone from there.
    async fn remove_vip(&self, gone: &OwnedVip) -> bool {
        // Else a NIC that is no longer served.
        let ifindex = self.ifindex(&gone.interface);
        let ifindex =
            ifindex.or_else(|| nix::net::if_::if_nametoindex(gone.interface.as_str()).ok());
        if let Some(ifindex) = ifindex
            && let Err(error) = self.network.remove_vip(ifindex, gone.vip).await
        {
            tracing::error!("{}: VIP {} cannot be removed: {error}", gone.interface, gone.vip);
            return false;
        }
        true
    }
}

fn owned_vip((interface, vip): Place) -> OwnedVip {
    OwnedVip { interface, vip }
}

fn key(vip: OwnedVip) -> Place {
    (vip.interface, vip.vip)
}
