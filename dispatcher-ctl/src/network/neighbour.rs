//! Rules, without I/O: when a neighbour's MAC is valid, and when the kernel must be asked.
//!
//! ```text
//!            usable ── confirm every few s (the kernel probes the MAC it has) ──► usable | failed
//! absent ──► resolve, again each second ──► usable | failed ──► resolve, again each second
//! usable, then deleted (`ip neigh flush`) ──► the MAC stays in use for 3 s while the kernel resolves it again
//! ```

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};

use crate::model::Mac;

/// How long the MAC of a deleted entry stays in use.
const KEPT: Duration = Duration::from_secs(3);
/// How long a MAC stays in use after its entry failed: the kernel deletes an entry (`ip neigh flush`) by failing it
/// first, and reports both in quick succession.
const DELETION: Duration = Duration::from_millis(50);
/// Pause before an address that did not resolve is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The kernel's neighbour entry for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// There is none.
    Absent,
    /// The kernel is asking.
    Resolving,
    /// Nobody answered.
    Failed,
    /// A MAC that frames may be sent to.
    Usable {
        /// The MAC.
        mac: Mac,
        /// Set by hand or by a control plane: we must not probe it.
        fixed: bool,
    },
    /// A MAC that no frame may be sent to.
    BadMac(Mac),
}

/// NIC and address of a neighbour.
pub(super) type Key = (u32, IpAddr);

/// Parses a neighbour message; `None` if it is not about an IP neighbour.
pub(super) fn parse(message: &NeighbourMessage) -> Option<(Key, Entry)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac, mut managed) = (None, None, false);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) = attribute {
            address = Some(IpAddr::V4(*v4));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) = attribute {
            address = Some(IpAddr::V6(*v6));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        } else if let NeighbourAttribute::ExtFlags(flags) = attribute {
            managed = flags.contains(NeighbourExtFlags::Managed);
        }
    }
    let learned = message.header.flags.contains(NeighbourFlags::ExtLearned);
    let entry = entry(message.header.state, mac, managed || learned);
    Some(((message.header.ifindex, address?), entry))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "internal states of the kernel")]
fn entry(state: NeighbourState, mac: Option<Mac>, controlled: bool) -> Entry {
    use NeighbourState as S;
    let fixed = match state {
        S::Incomplete => return Entry::Resolving,
        S::Failed => return Entry::Failed,
        S::Permanent | S::Noarp => true,
        S::Reachable | S::Stale | S::Delay | S::Probe => controlled,
        _ => return Entry::Absent,
    };
    match mac {
        Some(mac) if mac.is_unicast() => Entry::Usable { mac, fixed },
        Some(mac) => Entry::BadMac(mac),
        None => Entry::Absent,
    }
}

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Find the MAC.
    Resolve,
    /// Confirm that the MAC is still right.
    Confirm,
}

/// One watched neighbour: its entry, and when to act.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    entry: Entry,
    /// The MAC of a deleted entry, and until when it counts.
    kept: Option<(Mac, Instant)>,
    /// When the entry failed last.
    failed_at: Instant,
    /// When to ask the kernel next; `None`: never.
    ask_at: Option<Instant>,
    /// Whether the kernel's table had no room for an entry.
    no_room: bool,
    /// Whether nothing is known yet: neither a MAC nor a failure.
    pub(super) pending: bool,
}

impl Neighbour {
    /// A neighbour whose current table entry is `entry`.
    pub(super) fn new(entry: Entry, now: Instant) -> Self {
        let mut neighbour = Self {
            entry: Entry::Absent,
            kept: None,
            failed_at: now,
            ask_at: Some(now),
            no_room: false,
            pending: true,
        };
        neighbour.observe(entry, now);
        neighbour
    }

    /// Updates with the current table entry.
    pub(super) fn observe(&mut self, entry: Entry, now: Instant) {
        let before = std::mem::replace(&mut self.entry, entry);
        self.no_room = false;
        self.pending &= matches!(self.entry, Entry::Absent | Entry::Resolving);
        match (&before, &self.entry) {
            (Entry::Usable { mac: old, .. }, Entry::Usable { mac, .. }) if old == mac => {}
            (_, Entry::Usable { fixed, .. }) => {
                self.kept = None;
                // New to us, but perhaps long in the table: confirm it at once.
                self.ask_at = (!fixed).then_some(now);
            }
            (Entry::Usable { mac, .. }, Entry::Absent | Entry::Resolving) => {
                self.kept = Some((*mac, now + KEPT));
                self.ask_at = Some(now);
            }
            (Entry::Failed, Entry::Absent | Entry::Resolving) => {
                if now >= self.failed_at + DELETION {
                    self.kept = None;
                }
                // Deleted: ask the kernel at once.
                let soon = if self.kept.is_some() { now } else { now + RETRY };
                self.ask_at = Some(self.ask_at.map_or(now, |at| at.min(soon)));
            }
            (_, Entry::Absent | Entry::Resolving) => {
                self.ask_at = Some(self.ask_at.map_or(now, |at| at.min(now + RETRY)));
            }
            (Entry::Usable { mac, .. }, Entry::Failed) => {
                self.kept = Some((*mac, now + KEPT));
                self.failed_at = now;
                self.ask_at = Some(now);
            }
            (_, Entry::Failed) => {
                self.failed_at = now;
                self.ask_at = Some(now + RETRY);
            }
            (_, Entry::BadMac(_)) => {
                self.kept = None;
                self.ask_at = Some(now + RETRY);
            }
        }
    }

    /// Records that the kernel's table has no room for an entry.
    pub(super) const fn no_room(&mut self) {
        self.no_room = true;
        self.pending = false;
    }

    /// The MAC to forward to.
    pub(super) fn mac(&self, now: Instant) -> Option<Mac> {
        match &self.entry {
            Entry::Usable { mac, .. } => Some(*mac),
            Entry::Absent | Entry::Resolving | Entry::Failed => self
                .kept
                .filter(|_| self.kept_until().is_some_and(|until| now < until))
                .map(|(mac, _)| mac),
            Entry::BadMac(_) => None,
        }
    }

    /// Until when the MAC of a deleted entry is used.
    fn kept_until(&self) -> Option<Instant> {
        let (_, until) = self.kept?;
        let failed = self.entry == Entry::Failed;
        Some(if failed { until.min(self.failed_at + DELETION) } else { until })
    }

    /// Why there is no MAC, as text that follows the neighbour's address.
    pub(super) fn why_no_mac(&self, nic: &str) -> String {
        match &self.entry {
            Entry::Failed => format!("does not answer on {nic}"),
            Entry::BadMac(mac) => format!("has mac {mac} on {nic}, which is not unicast"),
            Entry::Absent if self.no_room => {
                "has no place in the kernel's neighbour table, which is full (hint: \
                 raise net.ipv4.neigh.default.gc_thresh3, or net.ipv6.neigh.default.gc_thresh3)"
                    .to_owned()
            }
            Entry::Absent | Entry::Resolving | Entry::Usable { .. } => {
                format!("is being resolved on {nic}")
            }
        }
    }

    /// When [`Neighbour::act`] must be called.
    pub(super) fn due(&self) -> Option<Instant> {
        match (self.ask_at, self.kept_until()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What to ask the kernel for now. `confirm_every`: interval of confirmations.
    pub(super) fn act(&mut self, now: Instant, confirm_every: Duration) -> Option<Ask> {
        if self.kept_until().is_some_and(|until| until <= now) {
            self.kept = None;
        }
        self.ask_at.filter(|at| *at <= now)?;
        match self.entry {
            Entry::Usable { fixed: true, .. } => {
                self.ask_at = None;
                None
            }
            Entry::Usable { .. } => {
                self.ask_at = Some(now + confirm_every);
                Some(Ask::Confirm)
            }
            Entry::Absent | Entry::Resolving | Entry::Failed | Entry::BadMac(_) => {
                self.ask_at = Some(now + RETRY);
                Some(Ask::Resolve)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const EVERY: Duration = Duration::from_secs(3);

    const fn usable(mac: Mac) -> Entry {
        Entry::Usable { mac, fixed: false }
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn an_unknown_neighbour_is_asked_for_each_second() {
        let t = Instant::now();
        let mut n = Neighbour::new(Entry::Absent, t);
        assert!(n.pending && n.mac(t).is_none());
        assert_eq!(n.act(t, EVERY), Some(Ask::Resolve));
        n.observe(Entry::Resolving, after(t, 1));
        assert_eq!(n.act(after(t, 999), EVERY), None);
        assert_eq!(n.act(after(t, 1000), EVERY), Some(Ask::Resolve));
        assert!(n.pending);
        n.observe(usable(MAC), after(t, 1001));
        assert!(!n.pending);
        assert_eq!(n.mac(after(t, 1001)), Some(MAC));
    }

    #[test]
    fn a_usable_neighbour_is_confirmed_but_a_fixed_one_is_left_alone() {
        let t = Instant::now();
        let mut n = Neighbour::new(usable(MAC), t);
        assert_eq!(n.act(t, EVERY), Some(Ask::Confirm));
        n.observe(usable(MAC), after(t, 10));
        assert_eq!(n.due(), Some(t + EVERY));
        assert_eq!(n.act(t + EVERY, EVERY), Some(Ask::Confirm));
        let mut n = Neighbour::new(Entry::Usable { mac: MAC, fixed: true }, t);
        assert_eq!((n.due(), n.act(after(t, 60_000), EVERY)), (None, None));
        assert_eq!(n.mac(t), Some(MAC));
    }

    #[test]
    fn a_failed_neighbour_has_no_mac_and_is_tried_at_once_and_then_each_second() {
        let t = Instant::now();
        let mut n = Neighbour::new(usable(MAC), t);
        n.observe(Entry::Failed, t);
        assert_eq!(n.act(t, EVERY), Some(Ask::Resolve));
        assert_eq!(n.due(), Some(t + DELETION));
        assert_eq!((n.act(t + DELETION, EVERY), n.mac(t + DELETION)), (None, None));
        n.observe(Entry::Failed, after(t, 3000));
        assert_eq!(n.act(after(t, 3000), EVERY), None);
        assert_eq!(n.act(after(t, 4000), EVERY), Some(Ask::Resolve));
        assert!(n.why_no_mac("eth0").contains("does not answer on eth0"));
    }

    #[test]
    fn a_deleted_entry_keeps_its_mac_for_three_seconds() {
        let t = Instant::now();
        let mut n = Neighbour::new(usable(MAC), t);
        n.observe(Entry::Absent, t);
        assert_eq!(n.act(t, EVERY), Some(Ask::Resolve));
        n.observe(Entry::Resolving, after(t, 1));
        assert_eq!(n.mac(after(t, 2999)), Some(MAC));
        assert_eq!(n.mac(after(t, 3000)), None);
        n.observe(usable(OTHER), after(t, 3500));
        assert_eq!(n.mac(after(t, 3500)), Some(OTHER));
    }

    #[test]
    fn a_flush_reported_as_failure_and_deletion_keeps_the_mac() {
        let t = Instant::now();
        let mut n = Neighbour::new(usable(MAC), t);
        n.observe(Entry::Failed, t);
        n.observe(Entry::Absent, after(t, 1));
        assert_eq!(n.act(after(t, 1), EVERY), Some(Ask::Resolve));
        // Flushed again during resolution: the time does not start over.
        n.observe(Entry::Resolving, after(t, 2));
        n.observe(Entry::Failed, after(t, 1000));
        n.observe(Entry::Absent, after(t, 1001));
        assert_eq!(n.act(after(t, 1001), EVERY), Some(Ask::Resolve));
        assert_eq!(n.mac(after(t, 2999)), Some(MAC));
        assert_eq!(n.mac(after(t, 3000)), None);
        // A failure without a quick deletion is a real failure.
        let mut n = Neighbour::new(usable(MAC), t);
        n.observe(Entry::Failed, t);
        n.observe(Entry::Absent, t + DELETION);
        assert_eq!(n.mac(t + DELETION), None);
    }

    #[test]
    fn a_deleted_entry_that_then_fails_is_not_kept() {
        let t = Instant::now();
        let mut n = Neighbour::new(usable(MAC), t);
        n.observe(Entry::Absent, t);
        n.observe(Entry::Failed, after(t, 1));
        assert_eq!(n.mac(after(t, 51)), None);
        n.observe(Entry::Absent, after(t, 52));
        assert_eq!(n.mac(after(t, 52)), None);
    }

    #[test]
    fn macs_that_are_not_unicast_are_never_used() {
        for mac in [Mac([0; 6]), Mac([0xff; 6]), Mac([1, 0, 0x5e, 0, 0, 1])] {
            assert_eq!(entry(NeighbourState::Permanent, Some(mac), false), Entry::BadMac(mac));
            let n = Neighbour::new(Entry::BadMac(mac), Instant::now());
            assert!(n.mac(Instant::now()).is_none() && !n.pending);
        }
    }
}
