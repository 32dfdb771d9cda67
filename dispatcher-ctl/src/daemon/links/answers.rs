//! NICs without the datapath that answer ARP requests for VIPs: the operator is warned, or with `manage_arp` they are silenced.
//!
//! The saved state has the former `arp_ignore` of such a NIC before it is changed. It is restored at the end, also by the next
//! controller or by `detach --all`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::nics::Nics;
use crate::{
    daemon::store::Store,
    model::{ArpIgnored, State},
    network::{HeldAddress, Link, arp},
};

/// NICs that would answer for VIPs if their settings let them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    nics: Vec<arp::Answering>,
    /// Those for which the log has a warning, by ifindex.
    warned: BTreeSet<u32>,
}

impl Answers {
    /// Finds which of these links answer for VIPs that others have; silences them, or warns of them.
    pub(super) fn find(
        &mut self,
        links: &[Link],
        held: &[HeldAddress],
        nics: &Nics,
        store: &mut Store,
    ) {
        let served: BTreeSet<u32> = nics.present().map(|link| link.ifindex).collect();
        self.nics = match served.is_empty() {
            true => Vec::new(),
            false => arp::answering(links, held, &served, &ipv4_vips(&store.state)),
        };
        let is_managed = store.applied.manage_arp;
        if is_managed {
            self.silence(store);
        }
        give_back_unless(store, |ignored| {
            is_managed && self.nics.iter().any(|nic| nic.ifindex == ignored.ifindex)
        });
        let warnings: BTreeMap<u32, String> =
            self.answering().map(|nic| (nic.ifindex, warning(nic))).collect();
        for (ifindex, warning) in &warnings {
            if !self.warned.contains(ifindex) {
                tracing::warn!("{warning}");
            }
        }
        self.warned = warnings.into_keys().collect();
    }

    /// What an operator should know of NICs that answer for VIPs.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.answering().map(warning).collect()
    }

    /// NICs that answer for VIPs, as their settings are now.
    fn answering(&self) -> impl Iterator<Item = &arp::Answering> {
        self.nics.iter().filter(|nic| arp::answers(&nic.name))
    }

    /// Makes NICs answer for their own addresses only.
    fn silence(&self, store: &mut Store) {
        let loud: Vec<_> = self.answering().collect();
        if loud.is_empty() {
            return;
        }
        let mut known = store.arp_ignored.clone();
        for nic in &loud {
            if let Some(former) = arp::arp_ignore(&nic.name)
                && !known.iter().any(|ignored| ignored.ifindex == nic.ifindex)
            {
                known.push(ArpIgnored { ifindex: nic.ifindex, former });
            }
        }
        // Before anything is set: if this controller is killed, the next one knows what to restore.
        store.note(|saved| saved.arp_ignored.clone_from(&known));
        for nic in loud {
            match arp::set_arp_ignore(&nic.name, arp::OWN_ONLY) {
                Ok(()) => tracing::info!("{}: arp_ignore is {} now", nic.name, arp::OWN_ONLY),
                Err(error) => tracing::error!("{}: arp_ignore cannot be set: {error}", nic.name),
            }
        }
    }
}

/// Gives NICs back the `arp_ignore` they had, except those to be kept silent.
pub(super) fn give_back_unless(store: &mut Store, is_kept: impl Fn(&ArpIgnored) -> bool) {
    let (kept, back): (Vec<_>, Vec<_>) = store.arp_ignored.iter().copied().partition(is_kept);
    if back.is_empty() {
        return;
    }
    back.iter().for_each(give_back);
    store.note(|saved| saved.arp_ignored.clone_from(&kept));
}

fn ipv4_vips(state: &State) -> BTreeSet<std::net::Ipv4Addr> {
    let vips = state.services.iter().filter_map(|service| match service.config.vip {
        IpAddr::V4(vip) if !vip.is_unspecified() => Some(vip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    vips.collect()
}

/// Gives a NIC back the `arp_ignore` it had, unless somebody has set another since.
pub(crate) fn give_back(ignored: &ArpIgnored) {
    let Ok(name) = nix::net::if_::if_indextoname(ignored.ifindex) else { return };
    let name = name.to_string_lossy();
    if arp::arp_ignore(&name) != Some(arp::OWN_ONLY) {
        return;
    }
    if let Err(error) = arp::set_arp_ignore(&name, ignored.former) {
        tracing::error!("{name}: arp_ignore cannot be set back to {}: {error}", ignored.former);
    }
}

fn warning(nic: &arp::Answering) -> String {
    let (first, more) = (nic.vips[0], nic.vips.len() - 1);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let arp::Answering { name, owner, .. } = nic;
    format!(
        "{name}: answers ARP requests for VIP {first}{more}, which {owner} has: clients on its segment send to the wrong MAC; \
         hint: {}, or manage_arp = true",
        arp::command(name)
    )
}
