//! VIPs on NICs: put there, announced, followed (`lost`), and taken away.
//!
//! The saved state lists a VIP before the controller puts it on a NIC, and until it is gone from the NIC: whenever the controller
//! dies, the next one knows what to remove. An address that somebody else put there is left alone.

mod contest;
mod lost;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::Instant,
};

use self::contest::Contest;
use super::{names::renamed, nics::Nics};
use crate::{
    api::types::EventKind,
    daemon::{clock, reports::Events, store::Store},
    model::{OwnedVip, SavedState},
    network::{Network, NetworkEvent, VipAdded},
};

/// A VIP on a NIC, by the NIC's name.
type Place = (String, IpAddr);

/// Where VIPs are put, and who reports it.
#[derive(Clone, Copy)]
pub(super) struct Site<'l> {
    pub(super) network: &'l Network,
    pub(super) nics: &'l Nics,
    pub(super) events: &'l Events,
}

/// What is known of VIPs on NICs.
#[derive(Debug, Default)]
pub(super) struct Vips {
    /// Those that this controller has put or found there.
    placed: BTreeSet<Place>,
    /// Those that were lost lately.
    contests: BTreeMap<Place, Contest>,
    /// VIPs that somebody else put there and that are gone: what is wrong.
    missed: BTreeMap<Place, (&'static str, Instant)>,
    /// When it was last checked whether all are there; none: to be checked soon.
    checked: Option<Instant>,
}

impl Vips {
    /// Checks with the next tick whether all are there.
    pub(super) const fn check_soon(&mut self) {
        self.checked = None;
    }

    /// Whether VIPs are missing that somebody else had put there.
    pub(super) fn misses_any(&self) -> bool {
        !self.missed.is_empty()
    }

    /// Puts VIPs on the NICs where they belong, and removes them from others. `again`: also announces those that are there.
    pub(super) async fn place(&mut self, site: Site<'_>, store: &mut Store, again: bool) {
        let wanted = wanted(store, site.nics);
        let owned = owned(store);
        let gone: Vec<_> = owned.difference(&wanted).cloned().map(owned_vip).collect();
        remove_each(site, store, &gone).await;
        // The kernel is not asked again for VIPs that are in place.
        self.placed.retain(|placed| !again && wanted.contains(placed));
        let open: Vec<Place> = wanted.difference(&self.placed).cloned().collect();
        if open.is_empty() {
            return;
        }
        let held: HashSet<_> = match site.network.held().await {
            Ok(held) => held.iter().map(|held| (held.ifindex, held.address)).collect(),
            Err(error) => {
                tracing::error!("VIPs cannot be placed: {error}");
                return;
            }
        };
        let is_there = |place: &Place| {
            site.ifindex(&place.0).is_some_and(|ifindex| held.contains(&(ifindex, place.1)))
        };
        let is_new = |place: &&Place| !owned.contains(*place);
        let added: Vec<Place> =
            open.iter().filter(is_new).filter(|p| !is_there(p)).cloned().collect();
        if !added.is_empty() {
            store.note(|saved| saved.vips.extend(added.iter().cloned().map(owned_vip)));
        }
        let mut foreign = BTreeSet::new();
        for place in &open {
            let found = is_there(place);
            if found && (again || is_new(&place)) {
                site.announce(place).await;
            }
            if !found {
                match self.put(site, place).await {
                    Some(VipAdded::Added) if !is_new(&place) => {
                        report_found_missing(site.events, place);
                    }
                    Some(VipAdded::AlreadyThere) if is_new(&place) => {
                        foreign.insert(place.clone());
                    }
                    Some(VipAdded::Added | VipAdded::AlreadyThere) => {}
                    None => continue,
                }
            }
            self.placed.insert(place.clone());
        }
        if !foreign.is_empty() {
            store.note(|saved| saved.vips.retain(|vip| !foreign.contains(&key(vip))));
        }
    }

    /// Removes every VIP that the controller added.
    pub(super) async fn remove_all(&self, site: Site<'_>, store: &mut Store) {
        let all = store.vips.clone();
        remove_each(site, store, &all).await;
    }

    /// Whether VIPs are on the NICs where they belong and on no others, as far as is known.
    pub(super) fn are_placed(&self, saved: &SavedState, nics: &Nics) -> bool {
        let wanted = wanted(saved, nics);
        wanted.is_subset(&self.placed) && owned(saved).is_subset(&wanted)
    }

    /// Gives NICs their present names: former and present.
    pub(super) fn rename(&mut self, renames: &[(String, String)]) {
        let renamed = |(name, vip): Place| (renamed(&name, renames), vip);
        let Self { placed, contests, missed, .. } = std::mem::take(self);
        *self = Self {
            placed: placed.into_iter().map(renamed).collect(),
            contests: contests.into_iter().map(|(p, c)| (renamed(p), c)).collect(),
            missed: missed.into_iter().map(|(p, m)| (renamed(p), m)).collect(),
            checked: None,
        };
    }

    /// Puts a VIP on a NIC and announces it. None: that failed, and is retried later.
    async fn put(&mut self, site: Site<'_>, place: &Place) -> Option<VipAdded> {
        let (interface, vip) = place;
        let ifindex = site.ifindex(interface)?;
        match site.network.put_vip(ifindex, *vip).await {
            Ok(put) => {
                site.announce(place).await;
                Some(put)
            }
            Err(error) => {
                let now = clock::now();
                let contest =
                    self.contests.entry(place.clone()).or_insert_with(|| Contest::new(now));
                contest.mark_missing(now);
                if contest.mark_failed(now, error.to_string()) {
                    tracing::error!("{interface}: VIP {vip} cannot be added: {error}");
                }
                None
            }
        }
    }
}

impl Site<'_> {
    fn ifindex(&self, interface: &str) -> Option<u32> {
        self.nics.link(interface).map(|link| link.ifindex)
    }

    async fn announce(&self, (interface, vip): &Place) {
        let Some(link) = self.nics.link(interface) else { return };
        if let Err(error) = self.network.announce(link.ifindex, link.mac, *vip).await {
            tracing::warn!("{interface}: VIP {vip} cannot be announced: {error}");
        }
    }

    /// Removes a VIP from its NIC. Returns whether it is gone.
    async fn remove(&self, gone: &OwnedVip) -> bool {
        // It may be on a NIC that is no longer served.
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

/// Whether reports of the kernel are about VIPs that should be there.
pub(super) fn has_lost(reports: &[NetworkEvent], saved: &SavedState, nics: &Nics) -> bool {
    if reports.contains(&NetworkEvent::ReadAgain) {
        return true;
    }
    let gone = |report: &NetworkEvent| match report {
        NetworkEvent::AddressGone { ifindex, address, .. } => Some((*ifindex, *address)),
        NetworkEvent::LinkChanged(_)
        | NetworkEvent::LinkGone { .. }
        | NetworkEvent::AddressesChanged
        | NetworkEvent::ReadAgain
        | NetworkEvent::ResolutionChanged { .. } => None,
    };
    let gone: Vec<_> = reports.iter().filter_map(gone).collect();
    if gone.is_empty() || !saved.applied.manage_vips {
        return false;
    }
    let vips: HashSet<_> = saved.state.services.iter().map(|s| s.config.vip).collect();
    let nics: HashSet<_> = nics.present().map(|link| link.ifindex).collect();
    gone.iter().any(|(ifindex, vip)| nics.contains(ifindex) && vips.contains(vip))
}

/// NIC and VIP for every VIP on every NIC that is there.
fn wanted(saved: &SavedState, nics: &Nics) -> BTreeSet<Place> {
    if !saved.applied.manage_vips {
        return BTreeSet::new();
    }
    let vips = saved.state.services.iter().map(|s| s.config.vip);
    // A service on any address has none of its own.
    let vips: BTreeSet<_> = vips.filter(|vip| !vip.is_unspecified()).collect();
    let there = nics.links().filter(|(_, link)| link.is_some());
    there.flat_map(|(name, _)| vips.iter().map(|vip| (name.clone(), *vip))).collect()
}

/// Those that the controller added.
fn owned(saved: &SavedState) -> BTreeSet<Place> {
    saved.vips.iter().map(key).collect()
}

/// Removes VIPs from their NICs; the saved state lists them until all are gone.
async fn remove_each(site: Site<'_>, store: &mut Store, gone: &[OwnedVip]) {
    let mut removed = HashSet::new();
    for vip in gone {
        if site.remove(vip).await {
            removed.insert(vip);
        }
    }
    if !removed.is_empty() {
        store.note(|saved| saved.vips.retain(|vip| !removed.contains(vip)));
    }
}

fn report_found_missing(events: &Events, (interface, vip): &Place) {
    tracing::info!("{interface}: VIP {vip} was missing, put back");
    let (interface, vip) = (interface.clone(), *vip);
    events.send(EventKind::VipRestored { interface, vip, losses: 1, taken_by: None });
}

fn owned_vip((interface, vip): Place) -> OwnedVip {
    OwnedVip { interface, vip }
}

fn key(vip: &OwnedVip) -> Place {
    (vip.interface.clone(), vip.vip)
}
