//! Where are the backends' addresses, as last told? What the kernel reports of them is told where it is news.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::daemon::core::Core;
use crate::{
    api::types::EventKind,
    model::Mac,
    network::{NetworkEvent, Resolution},
};

/// MAC and ifindex of every address that answered once; none: it does not any more.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Neighbours(HashMap<IpAddr, Option<(Mac, u32)>>);

/// What has become of an address.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    former: Option<(Mac, u32)>,
    now: Option<(Mac, u32)>,
}

impl Neighbours {
    /// Forgets addresses that nobody follows any more.
    pub(in crate::daemon) fn retain(&mut self, watched: &BTreeSet<IpAddr>) {
        self.0.retain(|address, _| watched.contains(address));
    }

    /// Takes in where an address is; yields what has changed. That it is found for the first time is no news.
    fn take(&mut self, address: IpAddr, found: &Resolution) -> Option<Change> {
        let now = match found {
            Resolution::Resolved { ifindex, mac } => Some((*mac, *ifindex)),
            Resolution::Unresolved(_) => None,
        };
        let Some(former) = self.0.get_mut(&address) else {
            if now.is_some() {
                self.0.insert(address, now);
            }
            return None;
        };
        let former = std::mem::replace(former, now);
        (former != now).then_some(Change { former, now })
    }
}

impl Core {
    /// Tells of addresses that answer elsewhere, no longer, or again.
    pub(in crate::daemon) fn tell_neighbours(&mut self, events: &[NetworkEvent]) {
        for event in events {
            let NetworkEvent::ResolutionChanged { address, to, .. } = event else { continue };
            let Some(change) = self.neighbours.take(*address, to) else { continue };
            let nic = |(_, ifindex): (Mac, u32)| {
                let nics = self.watched_nics();
                nics.into_iter().find(|(index, _)| *index == ifindex).map(|(_, name)| name)
            };
            self.events.tell(EventKind::NeighbourChanged {
                address: *address,
                mac: change.now.map(|(mac, _)| mac),
                interface: change.now.and_then(nic),
                former_mac: change.former.map(|(mac, _)| mac),
                reason: match to {
                    Resolution::Resolved { .. } => None,
                    Resolution::Unresolved(why) => Some(why.clone()),
                },
            });
        }
    }
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
        let mut take = |found| neighbours.take(address, &found).map(|c| (c.former, c.now));
        assert_eq!(take(silent("is being looked up")), None);
        assert_eq!(take(at(2)), None);
        assert_eq!(take(at(2)), None);
        assert_eq!(take(silent("does not answer")), Some((Some((mac, 2)), None)));
        assert_eq!(take(silent("is being looked up")), None);
        assert_eq!(take(at(3)), Some((None, Some((mac, 3)))));
        neighbours.retain(&BTreeSet::new());
        assert_eq!(neighbours.take(address, &at(4)), None);
    }
}
