//! The watched addresses: what is known about each, which is due when, and how many are still unknown. Both totals are
//! kept up to date with every change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use super::{
    kernel::Route,
    neighbour::{Entry, Neighbour},
};

/// A watched address.
#[derive(Debug)]
pub(super) struct Backend {
    /// Where the kernel would send packets to it; `None`: not looked up yet.
    pub(super) route: Option<Route>,
    /// Its neighbour entry; counts if the route is on-link.
    pub(super) neighbour: Neighbour,
}

impl Backend {
    /// The NIC that it is on, if it is on-link.
    pub(super) const fn nic(&self) -> Option<u32> {
        match self.route {
            Some(Route::OnLink(ifindex)) => Some(ifindex),
            Some(Route::Elsewhere(_)) | None => None,
        }
    }
}

/// All watched addresses.
#[derive(Debug, Default)]
pub(super) struct Backends {
    all: BTreeMap<IpAddr, Backend>,
    due: BTreeSet<(Instant, IpAddr)>,
    pending: usize,
}

impl Backends {
    /// Number of addresses.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Number of addresses about which nothing is known yet.
    pub(super) const fn pending(&self) -> usize {
        self.pending
    }

    /// All addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.all.keys().copied()
    }

    /// All addresses with what is known about them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Backend)> {
        self.all.iter().map(|(address, backend)| (*address, backend))
    }

    /// What is known about an address.
    pub(super) fn get(&self, address: IpAddr) -> Option<&Backend> {
        self.all.get(&address)
    }

    /// The address that is due first, and when.
    pub(super) fn first_due(&self) -> Option<(Instant, IpAddr)> {
        self.due.first().copied()
    }

    /// Starts watching an address. Returns whether it is new.
    pub(super) fn insert(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.all.contains_key(&address) {
            return false;
        }
        let neighbour = Neighbour::new(Entry::Absent, now);
        self.all.insert(address, Backend { route: None, neighbour });
        self.account((None, false), address);
        true
    }

    /// Stops watching an address.
    pub(super) fn remove(&mut self, address: IpAddr) {
        let before = self.sums(address);
        self.all.remove(&address);
        self.account(before, address);
    }

    /// Changes an address; `None` if it is not watched.
    pub(super) fn change<T>(
        &mut self,
        address: IpAddr,
        change: impl FnOnce(&mut Backend) -> T,
    ) -> Option<T> {
        let before = self.sums(address);
        let result = self.all.get_mut(&address).map(change);
        self.account(before, address);
        result
    }

    /// What an address contributes to `due` and to `pending`.
    fn sums(&self, address: IpAddr) -> (Option<Instant>, bool) {
        match self.all.get(&address) {
            None => (None, false),
            Some(Backend { route: None, .. }) => (None, true),
            // Without a NIC there is nothing to ask.
            Some(Backend { route: Some(Route::Elsewhere(_)), .. }) => (None, false),
            Some(Backend { neighbour, .. }) => (neighbour.due(), neighbour.pending),
        }
    }

    fn account(&mut self, before: (Option<Instant>, bool), address: IpAddr) {
        let (due_before, pending_before) = before;
        let (due, pending) = self.sums(address);
        self.pending = self.pending + usize::from(pending) - usize::from(pending_before);
        if due != due_before {
            if let Some(before) = due_before {
                self.due.remove(&(before, address));
            }
            self.due.extend(due.map(|due| (due, address)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Mac, network::neighbour::Entry};

    #[test]
    fn sums_stay_true_across_changes() {
        let now = Instant::now();
        let address: IpAddr = "10.0.0.11".parse().unwrap();
        let mut backends = Backends::default();
        assert!(backends.insert(address, now) && !backends.insert(address, now));
        assert_eq!((backends.pending(), backends.first_due()), (1, None));
        backends.change(address, |b| b.route = Some(Route::OnLink(2)));
        assert_eq!((backends.pending(), backends.first_due()), (1, Some((now, address))));
        let usable = Entry::Usable { mac: Mac([2, 0, 0, 0, 0, 1]), fixed: true };
        backends.change(address, |b| b.neighbour.observe(usable, now));
        assert_eq!((backends.pending(), backends.first_due()), (0, None));
        backends.change(address, |b| b.route = None);
        assert_eq!(backends.pending(), 1);
        backends.remove(address);
        backends.remove(address);
        assert_eq!((backends.pending(), backends.first_due(), backends.len()), (0, None, 0));
        assert_eq!(backends.change(address, |_| ()), None);
    }
}
