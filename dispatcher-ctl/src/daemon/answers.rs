//! NICs beside those with the datapath that answer ARP requests for VIPs: warned of, or with `manage_arp` kept from it.
//!
//! What such a NIC's `arp_ignore` was stands in the record before it is set, and is put back at the end, also by the next
//! controller or `detach --all`.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use crate::{
    model::ArpIgnored,
    network::{Held, Link, arp},
};

/// NICs that answer for VIPs as far as is known, but for what their settings say now.
#[derive(Debug, Default)]
pub(super) struct Answers {
    nics: Vec<arp::Answering>,
    /// Those that the log was told of, by ifindex.
    told: BTreeSet<u32>,
}

impl Core {
    /// Takes in which NICs there are, and which of them would answer for VIPs that others have.
    pub(super) fn look_for_answers(&mut self, links: &[Link], held: &[Held]) {
        let there = self.nics.values().filter_map(|nic| nic.link.as_ref());
        let served: BTreeSet<u32> = there.map(|link| link.ifindex).collect();
        let vips = self.state().services.iter().filter_map(|s| match s.config.vip {
            std::net::IpAddr::V4(vip) if !vip.is_unspecified() => Some(vip),
            std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => None,
        });
        let vips = vips.collect();
        self.answers.nics = match served.is_empty() {
            true => Vec::new(),
            false => arp::answering(links, held, &served, &vips),
        };
        if self.record.applied.manage_arp {
            self.silence();
        }
        self.give_back_arp(|core, ignored| {
            let nics = &core.answers.nics;
            let wanted = core.record.applied.manage_arp;
            wanted && nics.iter().any(|nic| nic.ifindex == ignored.ifindex)
        });
        let names: BTreeMap<u32, String> =
            self.answering().map(|nic| (nic.ifindex, warning(nic))).collect();
        for (ifindex, warning) in &names {
            if !self.answers.told.contains(ifindex) {
                tracing::warn!("{warning}");
            }
        }
        self.answers.told = names.into_keys().collect();
    }

    /// What an operator should know of NICs that answer for VIPs.
    pub(super) fn answer_warnings(&self) -> Vec<String> {
        self.answering().map(warning).collect()
    }

    /// Gives NICs back the `arp_ignore` they had, but for those that are to be kept.
    pub(super) fn give_back_arp(&mut self, keep: impl Fn(&Self, &ArpIgnored) -> bool) {
        let (kept, back): (Vec<_>, Vec<_>) =
            self.record.arp_ignored.clone().into_iter().partition(|ignored| keep(self, ignored));
        if back.is_empty() {
            return;
        }
        back.iter().for_each(give_back);
        self.record.note(|record| record.arp_ignored.clone_from(&kept));
    }

    /// NICs that answer for VIPs, as their settings are now.
    fn answering(&self) -> impl Iterator<Item = &arp::Answering> {
        self.answers.nics.iter().filter(|nic| arp::answers(&nic.name))
    }

    /// Has NICs answer for their own addresses only.
    fn silence(&mut self) {
        let loud: Vec<_> = self.answering().cloned().collect();
        if loud.is_empty() {
            return;
        }
        let mut known = self.record.arp_ignored.clone();
        for nic in &loud {
            if let Some(former) = arp::arp_ignore(&nic.name)
                && !known.iter().any(|ignored| ignored.ifindex == nic.ifindex)
            {
                known.push(ArpIgnored { ifindex: nic.ifindex, former });
            }
        }
        // Before anything is set: who comes after a controller that was killed knows what to give back.
        self.record.note(|record| record.arp_ignored.clone_from(&known));
        for nic in loud {
            match arp::set_arp_ignore(&nic.name, arp::OWN_ONLY) {
                Ok(()) => tracing::info!("{}: arp_ignore is {} now", nic.name, arp::OWN_ONLY),
                Err(error) => tracing::error!("{}: arp_ignore cannot be set: {error}", nic.name),
            }
        }
    }
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
