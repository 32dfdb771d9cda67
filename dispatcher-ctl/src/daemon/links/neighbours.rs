//! The MACs of backends: which addresses are followed, where they answer, and what is reported when that changes.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::nics::Nics;
use crate::{
    api::types::EventKind,
    daemon::reports::Events,
    model::{Mac, State},
    network::{Network, NetworkEvent, Resolution, shortages},
};

/// Neighbours for which the kernel's table has room in any case: half of what it may hold by default.
const MANY: usize = 512;

/// MAC and ifindex.
type Found = Option<(Mac, u32)>;

/// The addresses that are followed.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    watched: BTreeSet<IpAddr>,
    /// Where each address answers that has ever answered; none: it no longer does.
    found: HashMap<IpAddr, Found>,
}

/// What has become of an address.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    former: Found,
    now: Found,
}

impl Neighbours {
    /// Follows the MACs of a state's backends, and of no others. Returns whether there are new ones.
    pub(super) fn watch(&mut self, state: &State, nics: &Nics, network: &Network) -> bool {
        let addresses = followed(state, nics.count());
        let grown = !addresses.is_subset(&self.watched);
        if grown && addresses.len() > self.watched.len() {
            for shortage in shortages(&addresses) {
                tracing::warn!("{}; hint: {}", shortage.error(), shortage.hint());
            }
        }
        self.watched.clone_from(&addresses);
        self.found.retain(|address, _| addresses.contains(address));
        network.watch(addresses, nics.watched());
        grown
    }

    /// Reports addresses that answer elsewhere, no longer, or again.
    pub(super) fn report(&mut self, reports: &[NetworkEvent], nics: &Nics, events: &Events) {
        for report in reports {
            let NetworkEvent::ResolutionChanged { address, to, .. } = report else { continue };
            let Some(Change { former, now }) = self.observe(*address, to) else { continue };
            events.log_and_send(EventKind::NeighbourChanged {
                address: *address,
                mac: now.map(|(mac, _)| mac),
                interface: now.and_then(|(_, ifindex)| nics.name(ifindex)),
                former_mac: former.map(|(mac, _)| mac),
                reason: match to {
                    Resolution::Resolved { .. } => None,
                    Resolution::Unresolved(why) => Some(why.clone()),
                },
            });
        }
    }

    /// Notes where an address answers; returns what changed. A first answer is not a change.
    fn observe(&mut self, address: IpAddr, found: &Resolution) -> Option<Change> {
        let now = match found {
            Resolution::Resolved { ifindex, mac } => Some((*mac, *ifindex)),
            Resolution::Unresolved(_) => None,
        };
        let Some(former) = self.found.get_mut(&address) else {
            if now.is_some() {
                self.found.insert(address, now);
            }
            return None;
        };
        let former = std::mem::replace(former, now);
        (former != now).then_some(Change { former, now })
    }
}

/// The addresses to follow: each takes an entry of the kernel's neighbour table, which is small. If there are many, backends are
/// left out that need no entry: their MAC is configured, and there is one NIC only.
fn followed(state: &State, nics: usize) -> BTreeSet<IpAddr> {
    let remote = || state.backends().map(|b| &b.config).filter(|config| !config.local);
    let all: BTreeSet<IpAddr> = remote().map(|config| config.address).collect();
    if all.len() <= MANY || nics != 1 {
        return all;
    }
    remote().filter(|config| config.mac.is_none()).map(|config| config.address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_and_a_first_answer_is_not() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        let at = |ifindex| Resolution::Resolved { ifindex, mac };
        let silent = |why: &str| Resolution::Unresolved(why.to_owned());
        let neighbours = &mut Neighbours::default();
        let mut take = |found| neighbours.observe(address, &found).map(|c| (c.former, c.now));
        assert_eq!(take(silent("is being looked up")), None);
        assert_eq!(take(at(2)), None);
        assert_eq!(take(at(2)), None);
        assert_eq!(take(silent("does not answer")), Some((Some((mac, 2)), None)));
        assert_eq!(take(silent("is being looked up")), None);
        assert_eq!(take(at(3)), Some((None, Some((mac, 3)))));
        neighbours.found.clear();
        assert_eq!(neighbours.observe(address, &at(4)), None);
    }
}
