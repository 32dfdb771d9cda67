//! The host network: NICs, neighbours and VIPs, over netlink.
//!
//! [`Network`] is a handle on two tasks: one carries requests to the kernel, the other (the resolver) follows what the
//! kernel reports and keeps a [`Resolution`] current for every address that is watched. All sockets live in the network
//! namespace of the thread that makes them.

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

pub use addresses::Held;
pub use error::NetworkError;
pub use limits::{Shortage, shortages};
pub use link::Link;
pub use room::has_neighbour_room;

use addresses::OwnAddresses;

/// What is known of the way to a backend's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It answers at this MAC behind this NIC.
    Resolved {
        /// The kernel's index of the NIC.
        ifindex: u32,
        /// The neighbour's MAC.
        mac: Mac,
    },
    /// It does not, and why: for status and log.
    Unresolved(String),
}

/// What happened in the host network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A NIC is new, or something about it is.
    LinkChanged(Link),
    /// A NIC is no longer there under this name.
    LinkGone {
        /// Its name.
        name: String,
        /// The kernel's index it had.
        ifindex: u32,
    },
    /// This host has other addresses than before.
    AddressesChanged,
    /// A NIC has lost an address.
    AddressGone {
        /// The kernel's index of the NIC.
        ifindex: u32,
        /// The address.
        address: IpAddr,
        /// Who asked for it, where the kernel tells: a netlink port, mostly the number of a process.
        by: Option<u32>,
    },
    /// All was read anew, as it is from time to time and when reports were lost.
    ReadAnew,
    /// The way to a watched address is another one.
    ResolutionChanged {
        /// The address.
        address: IpAddr,
        /// As it was.
        from: Resolution,
        /// As it is.
        to: Resolution,
    },
}

/// What adding a VIP came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipAdded {
    /// It was added, and is the caller's to remove.
    Added,
    /// The NIC had the address already.
    AlreadyThere,
}

/// A handle on the host network; cheap to clone. When the last one goes, the tasks end.
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

/// What is to be watched from now on.
#[derive(Debug)]
struct Watch {
    /// Number of this order.
    order: u64,
    addresses: BTreeSet<IpAddr>,
    /// Attached NICs: ifindex and name.
    nics: Vec<(u32, String)>,
}

/// How far the resolver is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Number of the last order that was taken in.
    order: u64,
    /// Addresses of which nothing is known yet.
    pending: usize,
}

type Resolutions = Arc<RwLock<HashMap<IpAddr, Resolution>>>;

impl Network {
    /// Opens the netlink sockets in the calling thread's network namespace and starts following the kernel.
    ///
    /// # Errors
    /// Where netlink refuses.
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

    /// The NICs there are.
    ///
    /// # Errors
    /// Where netlink refuses.
    pub async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        self.kernel.links().await
    }

    /// Replaces the set of addresses to be resolved. Only neighbours on `nics` (ifindex and name) count.
    ///
    /// Takes effect shortly; [`Network::settled`] waits for it.
    pub fn watch(&self, addresses: BTreeSet<IpAddr>, nics: Vec<(u32, String)>) {
        let order = 1 + self.watched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // The resolver only ends when the last handle is gone.
        let _ = self.watch.send(Watch { order, addresses, nics });
    }

    /// Waits until every watched address has a MAC or has failed to have one, at most so long. Says whether that came.
    ///
    /// To be called before the first write of a takeover: an address whose resolution merely has not come yet must not
    /// cost a running backend its traffic.
    pub async fn settled(&self, at_most: Duration) -> bool {
        let order = self.watched.load(std::sync::atomic::Ordering::SeqCst);
        let mut progress = self.progress.clone();
        let settled = progress.wait_for(|p| p.order >= order && p.pending == 0);
        matches!(tokio::time::timeout(at_most, settled).await, Ok(Ok(_)))
    }

    /// What is known of the way to an address.
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

    /// Puts a VIP on a NIC as /32 or /128: without duplicate address detection, without a route for its prefix, and
    /// (IPv6) deprecated, so that the host never takes it as the source of its own connections.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn add_vip(&self, ifindex: u32, vip: IpAddr) -> Result<VipAdded, NetworkError> {
        self.kernel.add_vip(ifindex, vip).await
    }

    /// As [`Network::add_vip`], without a look at what the NIC has already: for who has just asked ([`Network::held`]).
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn put_vip(&self, ifindex: u32, vip: IpAddr) -> Result<VipAdded, NetworkError> {
        self.kernel.put_vip(ifindex, vip).await
    }

    /// The addresses of this host, by NIC, as they are now.
    ///
    /// # Errors
    /// Where netlink refuses.
    pub async fn held(&self) -> Result<Vec<Held>, NetworkError> {
        self.kernel.held().await
    }

    /// Takes a VIP (/32 or /128) off a NIC. One that is not there, or whose NIC is not, is no error.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn remove_vip(&self, ifindex: u32, vip: IpAddr) -> Result<(), NetworkError> {
        self.announcer.stop(ifindex, vip);
        self.kernel.remove_vip(ifindex, vip).await
    }

    /// Tells the segment that a VIP is at this MAC: gratuitous ARP or unsolicited neighbour advertisement, once now
    /// and twice more within the next seconds.
    ///
    /// # Errors
    /// Where the first frame cannot be sent.
    pub async fn announce(&self, ifindex: u32, mac: Mac, vip: IpAddr) -> Result<(), NetworkError> {
        self.announcer.announce(ifindex, mac, vip)
    }
}
