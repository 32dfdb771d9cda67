//! The resolver: one task that follows links, routes and neighbours and keeps the resolutions up to date.
//!
//! It trusts events, and reads everything again every [`RESYNC`], or at once if events were lost. Its work is bounded:
//! at most [`BATCH`] requests to the kernel per [`PACE`], whatever the number of backends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::PoisonError,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all};
use tokio::sync::{mpsc, watch};

use super::{
    HeldAddress, Link, NetworkError, NetworkEvent, OwnAddresses, Progress, Resolution, Resolutions,
    Watch,
    backends::{Backend, Backends},
    kernel::{Event, Events, Kernel, Route},
    neighbour::{Ask, Entry, Key, Neighbour},
};

/// Time between full readings of the kernel's tables.
const RESYNC: Duration = Duration::from_secs(30);
/// Requests per batch.
const BATCH: usize = 100;
/// Time between batches, if there is more work than fits into one.
const PACE: Duration = Duration::from_millis(100);
/// Interval of confirmations of a MAC, with few backends.
const CONFIRM: Duration = Duration::from_secs(3);
/// Minimum of that interval per backend: 500 confirmations a second.
const CONFIRM_EACH: Duration = Duration::from_millis(2);
/// How long changes of routes are collected before they are looked up.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Resolver {
    kernel: Kernel,
    reports: Events,
    links: BTreeMap<u32, Link>,
    /// The kernel's neighbour table, as far as it is known.
    table: HashMap<Key, Entry>,
    /// Attached NICs.
    nics: BTreeMap<u32, String>,
    /// Names of removed NICs on which a backend was last seen.
    gone: BTreeMap<u32, String>,
    backends: Backends,
    /// Addresses whose route must be looked up, from `route_at` on.
    unrouted: BTreeSet<IpAddr>,
    route_at: Instant,
    /// Earliest time of the next batch.
    act_at: Instant,
    resync_at: Instant,
    /// When to read the host's own addresses again, if needed.
    reread_at: Option<Instant>,
    order: u64,
    resolutions: Resolutions,
    own: OwnAddresses,
    events: mpsc::UnboundedSender<NetworkEvent>,
    progress: watch::Sender<Progress>,
}

impl Resolver {
    /// Subscribes and reads everything once.
    pub(super) async fn start(
        kernel: Kernel,
        resolutions: Resolutions,
        own: OwnAddresses,
        events: mpsc::UnboundedSender<NetworkEvent>,
        progress: watch::Sender<Progress>,
    ) -> Result<Self, NetworkError> {
        // Before the first reading, so that no change is missed in between.
        let reports = Kernel::subscribe()?;
        let now = Instant::now();
        own.replace(kernel.addresses().await?);
        Ok(Self {
            reports,
            links: kernel.links().await?.into_iter().map(|l| (l.ifindex, l)).collect(),
            table: kernel.neighbours().await?,
            kernel,
            nics: BTreeMap::new(),
            gone: BTreeMap::new(),
            backends: Backends::default(),
            unrouted: BTreeSet::new(),
            route_at: now,
            act_at: now,
            resync_at: now + RESYNC,
            reread_at: None,
            order: 0,
            resolutions,
            own,
            events,
            progress,
        })
    }

    /// Runs until the last handle is dropped.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Watch>) {
        loop {
            let next = self.next();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.watch(order),
                    None => return,
                },
                report = self.reports.next() => match report {
                    Some(report) => self.handle(report),
                    None => self.resubscribe().await,
                },
                () = tokio::time::sleep_until(next.into()) => self.work().await,
            }
            self.report_progress();
        }
    }

    /// The time of the next work that no event announces.
    fn next(&self) -> Instant {
        let mut next = self.reread_at.map_or(self.resync_at, |at| at.min(self.resync_at));
        if !self.unrouted.is_empty() {
            next = next.min(self.route_at);
        }
        if let Some((due, _)) = self.backends.first_due() {
            next = next.min(due.max(self.act_at));
        }
        next
    }

    async fn work(&mut self) {
        let now = Instant::now();
        if self.resync_at <= now {
            self.resync().await;
        }
        if self.reread_at.is_some_and(|at| at <= now) {
            self.read_addresses().await;
        }
        if !self.unrouted.is_empty() && self.route_at <= now {
            self.look_up_routes().await;
        }
        if self.act_at <= now {
            self.act().await;
        }
    }

    fn watch(&mut self, order: Watch) {
        let now = Instant::now();
        self.order = order.order;
        let gone: Vec<_> =
            self.backends.addresses().filter(|a| !order.addresses.contains(a)).collect();
        for address in gone {
            self.backends.remove(address);
            self.unrouted.remove(&address);
            self.resolutions.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
        }
        for address in order.addresses {
            if self.backends.insert(address, now) {
                self.unrouted.insert(address);
                self.route_at = now;
            }
        }
        let nics: BTreeMap<_, _> = order.nics.into_iter().collect();
        if nics != self.nics {
            self.nics = nics;
            self.look_up_all(now);
        }
    }

    fn handle(&mut self, report: Event) {
        match report {
            Event::Link(link) => self.link(link),
            Event::LinkGone(ifindex) => self.link_gone(ifindex),
            Event::Neighbour(key, entry) => self.observe(key, entry),
            Event::Routes => self.look_up_all(Instant::now() + GATHER),
            Event::Addresses(addresses) => {
                // At once: until the address is known, services on any address accept its packets. If an address
                // returns before the addresses were read again, this set never changed, but other parts may have seen
                // it gone.
                if self.own.add(addresses) || self.reread_at.is_some() {
                    self.send(NetworkEvent::AddressesChanged);
                }
                self.look_up_all(Instant::now() + GATHER);
            }
            Event::AddressGone(held, by) => {
                if let Some(HeldAddress { ifindex, address, .. }) = held {
                    self.send(NetworkEvent::AddressGone { ifindex, address, by });
                }
                // Another NIC may have it, too.
                self.reread_at = Some(Instant::now() + GATHER);
                self.look_up_all(Instant::now() + GATHER);
            }
            Event::Overrun => {
                tracing::debug!("netlink reports were lost, reading everything again");
                self.resync_at = Instant::now();
            }
        }
    }

    fn link(&mut self, link: Link) {
        let before = self.links.insert(link.ifindex, link.clone());
        if before.as_ref() == Some(&link) {
            return;
        }
        if let Some(before) = before
            && before.name != link.name
        {
            self.send(NetworkEvent::LinkGone { name: before.name, ifindex: before.ifindex });
        }
        let ifindex = link.ifindex;
        self.gone.remove(&ifindex);
        self.send(NetworkEvent::LinkChanged(link));
        self.publish_nic(ifindex);
    }

    fn link_gone(&mut self, ifindex: u32) {
        self.table.retain(|(nic, _), _| *nic != ifindex);
        if let Some(link) = self.links.remove(&ifindex) {
            let used: BTreeSet<u32> = self.backends.iter().filter_map(|(_, b)| b.nic()).collect();
            self.gone.insert(ifindex, link.name.clone());
            self.gone.retain(|nic, _| used.contains(nic));
            self.send(NetworkEvent::LinkGone { name: link.name, ifindex });
        }
        self.publish_nic(ifindex);
        self.look_up_all(Instant::now() + GATHER);
    }

    /// Publishes every backend behind a NIC again.
    fn publish_nic(&self, ifindex: u32) {
        for (address, backend) in self.backends.iter() {
            if backend.nic() == Some(ifindex) {
                self.publish(address);
            }
        }
    }

    /// Updates a neighbour's entry.
    fn observe(&mut self, key: Key, entry: Entry) {
        if entry == Entry::Absent {
            self.table.remove(&key);
        } else {
            self.table.insert(key, entry.clone());
        }
        let (ifindex, address) = key;
        if self.backends.get(address).and_then(Backend::nic) == Some(ifindex) {
            self.change(address, |backend| backend.neighbour.observe(entry, Instant::now()));
        }
    }

    /// Changes a backend and publishes the result.
    fn change<T>(&mut self, address: IpAddr, change: impl FnOnce(&mut Backend) -> T) -> Option<T> {
        let result = self.backends.change(address, change);
        self.publish(address);
        result
    }

    fn look_up_all(&mut self, at: Instant) {
        if self.unrouted.is_empty() {
            self.route_at = at;
        }
        self.unrouted.extend(self.backends.addresses());
    }

    async fn look_up_routes(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH
            && let Some(address) = self.unrouted.pop_first()
        {
            batch.push(address);
        }
        let routes = join_all(batch.iter().map(|address| self.kernel.route(*address))).await;
        // The kernel may report a NIC's routes gone before the NIC: the stated reason must not depend on that order.
        let elsewhere = |route: &Result<_, _>| matches!(route, Ok(Route::Elsewhere(_)));
        let on_a_nic = |address: &IpAddr| self.backends.get(*address).and_then(Backend::nic);
        let mut moved = batch.iter().zip(&routes).filter(|(_, route)| elsewhere(route));
        if moved.any(|(address, _)| on_a_nic(address).is_some_and(|nic| !self.is_lost(nic)))
            && let Err(error) = self.read_links().await
        {
            tracing::warn!(%error, "links not read");
        }
        for (address, route) in batch.into_iter().zip(routes) {
            match route {
                Ok(route) => self.place(address, route),
                Err(error) => tracing::warn!(%address, %error, "route not looked up"),
            }
        }
    }

    /// Updates where an address is.
    fn place(&mut self, address: IpAddr, route: Route) {
        let route = match route {
            Route::OnLink(ifindex) if !self.nics.contains_key(&ifindex) => {
                let name = self.links.get(&ifindex).map_or("another nic", |link| &link.name);
                Route::Elsewhere(format!("is not on-link on an attached nic (it is on {name})"))
            }
            route @ (Route::OnLink(_) | Route::Elsewhere(_)) => route,
        };
        let was = self.backends.get(address).and_then(Backend::nic);
        if matches!(route, Route::Elsewhere(_)) && was.is_some_and(|nic| self.is_lost(nic)) {
            // The route went with the NIC: report that the NIC is down or gone instead.
            return self.publish(address);
        }
        let entry = match route {
            Route::OnLink(ifindex) => self.table.get(&(ifindex, address)).cloned(),
            Route::Elsewhere(_) => None,
        };
        self.change(address, |backend| {
            if backend.route.as_ref() != Some(&route) {
                backend.neighbour = Neighbour::new(entry.unwrap_or(Entry::Absent), Instant::now());
                backend.route = Some(route);
            }
        });
    }

    /// Whether a NIC is known to be gone or down.
    fn is_lost(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_none_or(|link| !link.up)
    }

    /// Does what is due: asks the kernel, lets MACs expire.
    async fn act(&mut self) {
        let now = Instant::now();
        let confirm_every = CONFIRM.max(CONFIRM_EACH * self.backends.len() as u32);
        let mut asks = Vec::new();
        while asks.len() < BATCH
            && let Some((due, address)) = self.backends.first_due()
            && due <= now
        {
            let acted = self.change(address, |backend| {
                (backend.nic(), backend.neighbour.act(now, confirm_every))
            });
            if let Some((Some(ifindex), Some(ask))) = acted {
                asks.push(((ifindex, address), ask));
            }
        }
        if asks.is_empty() {
            return;
        }
        self.act_at = now + PACE;
        let answers = join_all(asks.iter().map(|(key, ask)| self.kernel.ask(*key, *ask))).await;
        for ((key, ask), answer) in asks.into_iter().zip(answers) {
            if let Err(error) = answer {
                self.refused(key, ask, &error);
            }
        }
    }

    fn refused(&mut self, key: Key, ask: Ask, error: &NetworkError) {
        match (ask, error.errno()) {
            // The entry is gone or has lost its MAC; an event will report that.
            (Ask::Confirm, Some(libc::ENOENT | libc::EINVAL)) => self.observe(key, Entry::Absent),
            (Ask::Resolve, Some(libc::ENOBUFS)) => {
                self.change(key.1, |backend| backend.neighbour.no_room());
            }
            _ => tracing::debug!(address = %key.1, %error, "kernel not asked"),
        }
    }

    /// Reads everything again and processes the differences.
    async fn resync(&mut self) {
        self.resync_at = Instant::now() + RESYNC;
        let table = match (self.read_links().await, self.kernel.neighbours().await) {
            (Ok(()), Ok(table)) => table,
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "network not read");
                return;
            }
        };
        let deleted: Vec<Key> =
            self.table.keys().filter(|key| !table.contains_key(key)).copied().collect();
        for key in deleted {
            self.observe(key, Entry::Absent);
        }
        for (key, entry) in table {
            self.observe(key, entry);
        }
        self.read_addresses().await;
        self.look_up_all(Instant::now());
        self.send(NetworkEvent::ReadAgain);
    }

    /// Reads this host's addresses.
    async fn read_addresses(&mut self) {
        self.reread_at = None;
        match self.kernel.addresses().await {
            Ok(addresses) => {
                if self.own.replace(addresses) {
                    self.send(NetworkEvent::AddressesChanged);
                }
            }
            Err(error) => tracing::warn!(%error, "addresses not read"),
        }
    }

    /// Reads all links and processes the differences.
    async fn read_links(&mut self) -> Result<(), NetworkError> {
        let links = self.kernel.links().await?;
        let here: BTreeSet<u32> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<u32> = self.links.keys().filter(|i| !here.contains(i)).copied().collect();
        for ifindex in gone {
            self.link_gone(ifindex);
        }
        for link in links {
            self.link(link);
        }
        Ok(())
    }

    async fn resubscribe(&mut self) {
        tracing::warn!("netlink subscription ended, subscribing again");
        tokio::time::sleep(PACE).await;
        match Kernel::subscribe() {
            Ok(reports) => self.reports = reports,
            Err(error) => tracing::warn!(%error, "not subscribed"),
        }
        self.resync_at = Instant::now();
    }

    /// What is known about reaching a watched address.
    fn resolve(&self, address: IpAddr, backend: &Backend) -> Resolution {
        let unresolved = |why: &str| Resolution::Unresolved(format!("{address} {why}"));
        let ifindex = match &backend.route {
            None => return unresolved("is being looked up"),
            Some(Route::Elsewhere(why)) => return unresolved(why),
            Some(Route::OnLink(ifindex)) => *ifindex,
        };
        let name = self.nics.get(&ifindex).or_else(|| self.gone.get(&ifindex));
        let name = name.map_or("nic", String::as_str);
        match self.links.get(&ifindex) {
            None => return unresolved(&format!("was on {name}, which is gone")),
            Some(link) if !link.up => return unresolved(&format!("is on {name}, which is down")),
            Some(_) => {}
        }
        match backend.neighbour.mac(Instant::now()) {
            Some(mac) => Resolution::Resolved { ifindex, mac },
            None => unresolved(&backend.neighbour.why_no_mac(name)),
        }
    }

    /// Publishes what is known about an address, and sends an event if it changed.
    fn publish(&self, address: IpAddr) {
        let Some(backend) = self.backends.get(address) else { return };
        let to = self.resolve(address, backend);
        let from = {
            let mut all = self.resolutions.write().unwrap_or_else(PoisonError::into_inner);
            if all.get(&address) == Some(&to) {
                return;
            }
            all.insert(address, to.clone())
        };
        let from = from
            .unwrap_or_else(|| Resolution::Unresolved(format!("{address} is not looked up yet")));
        self.send(NetworkEvent::ResolutionChanged { address, from, to });
    }

    fn report_progress(&self) {
        let progress = Progress { order: self.order, pending: self.backends.pending() };
        self.progress.send_if_modified(|now| std::mem::replace(now, progress) != progress);
    }

    fn send(&self, event: NetworkEvent) {
        // Nobody listens while the daemon is stopping.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests;
