//! The host network: NICs, neighbours and VIPs, over netlink.
//!
//! [`Network`] is a handle on two tasks: one carries requests to the kernel; the other (the resolver) follows the
//! kernel's reports and keeps a [`Resolution`] up to date for every watched address. All sockets belong to the network
//! namespace of the thread that opens them.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use crate::model::Mac;

mod addresses;
mod announce;
pub mod arp;
mod backends;
mod error;
pub(crate) mod extack;
mod kernel;
mod limits;
mod link;
mod neighbour;
mod resolver;
mod room;

pub use addresses::HeldAddress;
pub use error::NetworkError;
pub use limits::{Shortage, shortages};
pub use link::Link;
pub use room::has_neighbour_room;

use addresses::OwnAddresses;

/// What is known about reaching a backend's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It answers with this MAC on this NIC.
    Resolved {
        /// The kernel's index of the NIC.
        ifindex: u32,
        /// The neighbour's MAC.
        mac: Mac,
    },
    /// It cannot be reached, and why: for status and log.
    Unresolved(String),
}

/// What happened in the host network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A NIC is new or has changed.
    LinkChanged(Link),
    /// A NIC with this name no longer exists.
    LinkGone {
        /// Its name.
        name: String,
        /// Its former kernel index.
        ifindex: u32,
    },
    /// This host's set of addresses has changed.
    AddressesChanged,
    /// A NIC has lost an address.
    AddressGone {
        /// The kernel's index of the NIC.
        ifindex: u32,
        /// The address.
        address: IpAddr,
        /// Who requested it, if the kernel says so: a netlink port, mostly a process id.
        by: Option<u32>,
    },
    /// Everything was read again: regularly, and when reports were lost.
    ReadAgain,
    /// The resolution of a watched address has changed.
    ResolutionChanged {
        /// The address.
        address: IpAddr,
        /// Before.
        from: Resolution,
        /// Now.
        to: Resolution,
    },
}

/// Result of adding a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipAdded {
    /// It was added; the caller must remove it.
    Added,
    /// The NIC had the address already.
    AlreadyThere,
}

/// A handle on the host network; cheap to clone. Dropping the last one ends the tasks.
#[derive(Clone, Debug)]
pub struct Network {
    kernel: kernel::Kernel,
    announcer: announce::Announcer,
    resolutions: Resolutions,
    own: OwnAddresses,
    watch: mpsc::UnboundedSender<Watch>,
    progress: watch::Receiver<Progress>,
    watched: Arc<std::sync::atomic::AtomicU64>,
}

/// An order: what to watch.
#[derive(Debug)]
struct Watch {
    /// Number of this order.
    order: u64,
    addresses: BTreeSet<IpAddr>,
    /// Attached NICs: ifindex and name.
    nics: Vec<(u32, String)>,
}

/// Progress of the resolver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Number of the last order that was processed.
    order: u64,
    /// Addresses about which nothing is known yet.
    pending: usize,
}

type Resolutions = Arc<RwLock<HashMap<IpAddr, Resolution>>>;

impl Network {
    /// Opens the netlink sockets in the calling thread's network namespace and starts following the kernel.
    ///
    /// # Errors
    /// Netlink refuses.
    pub async fn start() -> Result<(Self, mpsc::UnboundedReceiver<NetworkEvent>), NetworkError> {
        let kernel = kernel::Kernel::connect()?;
        let (resolutions, own) = (Resolutions::default(), OwnAddresses::default());
        let (watch, orders) = mpsc::unbounded_channel();
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (events, receiver) = mpsc::unbounded_channel();
        let resolver = resolver::Resolver::start(
            kernel.clone(),
            Arc::clone(&resolutions),
            own.clone(),
            events,
            progress_sender,
        )
        .await?;
        tokio::spawn(resolver.run(orders));
        let network = Self {
            kernel,
            announcer: announce::Announcer::default(),
            resolutions,
            own,
            watch,
            progress,
            watched: Arc::default(),
        };
        Ok((network, receiver))
    }

    /// All NICs.
    ///
    /// # Errors
    /// Netlink refuses.
    pub async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        self.kernel.links().await
    }

    /// Replaces the set of addresses to resolve. Only neighbours on `nics` (ifindex and name) count.
    ///
    /// Takes effect shortly; [`Network::settled`] waits for it.
    pub fn watch(&self, addresses: BTreeSet<IpAddr>, nics: Vec<(u32, String)>) {
        let order = 1 + self.watched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // The resolver ends only when the last handle is dropped.
        let _ = self.watch.send(Watch { order, addresses, nics });
    }

    /// Waits, at most this long, until every watched address is resolved or has failed. Returns whether that happened.
    ///
    /// Call it before the first write of a takeover: an address that is merely not resolved yet must not cost a running
    /// backend its traffic.
    pub async fn settled(&self, at_most: Duration) -> bool {
        let order = self.watched.load(std::sync::atomic::Ordering::SeqCst);
        let mut progress = self.progress.clone();
        let settled = progress.wait_for(|p| p.order >= order && p.pending == 0);
        matches!(tokio::time::timeout(at_most, settled).await, Ok(Ok(_)))
    }

    /// What is known about reaching an address.
    #[must_use]
    pub fn resolution(&self, address: IpAddr) -> Resolution {
        let resolutions = self.resolutions.read().unwrap_or_else(PoisonError::into_inner);
        resolutions
            .get(&address)
            .cloned()
            .unwrap_or_else(|| Resolution::Unresolved(format!("{address} is not looked up yet")))
    }

    /// The addresses of this host, on all NICs, and the broadcast addresses of their networks.
    #[must_use]
    pub fn own_addresses(&self) -> BTreeSet<IpAddr> {
        self.own.all()
    }

    /// Adds a VIP to a NIC as /32 or /128: without duplicate address detection, without a route for its prefix, and
    /// (IPv6) deprecated, so that the host never uses it as source of its own connections.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn add_vip(&self, ifindex: u32, vip: IpAddr) -> Result<VipAdded, NetworkError> {
        self.kernel.add_vip(ifindex, vip).await
    }

    /// Like [`Network::add_vip`], without checking what the NIC has: for callers that have just asked
    /// ([`Network::held`]).
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn put_vip(&self, ifindex: u32, vip: IpAddr) -> Result<VipAdded, NetworkError> {
        self.kernel.put_vip(ifindex, vip).await
    }

    /// The current addresses of this host, by NIC.
    ///
    /// # Errors
    /// Netlink refuses.
    pub async fn held(&self) -> Result<Vec<HeldAddress>, NetworkError> {
        self.kernel.held().await
    }

    /// Removes a VIP (/32 or /128) from a NIC. A missing VIP or NIC is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn remove_vip(&self, ifindex: u32, vip: IpAddr) -> Result<(), NetworkError> {
        self.announcer.stop(ifindex, vip);
        self.kernel.remove_vip(ifindex, vip).await
    }

    /// Announces in the segment that a VIP is at this MAC: gratuitous ARP or unsolicited neighbour advertisement, now
    /// and twice more within the next seconds.
    ///
    /// # Errors
    /// The first frame cannot be sent.
    pub async fn announce(&self, ifindex: u32, mac: Mac, vip: IpAddr) -> Result<(), NetworkError> {
        self.announcer.announce(ifindex, mac, vip)
    }
}
