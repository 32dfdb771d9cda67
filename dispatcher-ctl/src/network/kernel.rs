//! Requests to the kernel, one function each, and the meaning of its answers and reports.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink's enums are long and growing")]

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStream, TryStreamExt as _};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
};
use tokio::sync::Mutex;

use super::{
    HeldAddress, Link, NetworkError, VipAdded, addresses, extack,
    neighbour::{self, Ask, Entry, Key},
};

/// The kernel's reports.
pub(super) type Events = futures_util::stream::BoxStream<'static, Event>;

/// One report of the kernel.
#[derive(Debug)]
pub(super) enum Event {
    /// A NIC exists, with these properties.
    Link(Link),
    /// A NIC no longer exists.
    LinkGone(u32),
    /// A neighbour's entry.
    Neighbour(Key, Entry),
    /// Routes changed.
    Routes,
    /// This host has these addresses, perhaps new ones.
    Addresses(Vec<IpAddr>),
    /// This host has lost an address; by whose request (a netlink port, mostly a process id), if the kernel says so.
    AddressGone(Option<HeldAddress>, Option<u32>),
    /// Reports were lost.
    Overrun,
}

/// Where the kernel would send packets to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Directly, out of this NIC.
    OnLink(u32),
    /// Elsewhere: text that follows the address.
    Elsewhere(String),
}

/// The connection that carries requests.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    handle: Handle,
    /// Locked while a table is read: the kernel refuses a second reading on the same socket.
    reading: Arc<Mutex<()>>,
}

impl Kernel {
    /// Opens the connection, in the calling thread's network namespace.
    pub(super) fn connect() -> Result<Self, NetworkError> {
        let handle = extack::connect().map_err(NetworkError::Socket)?;
        Ok(Self { handle, reading: Arc::default() })
    }

    /// Subscribes to changes of links, neighbours, addresses and routes.
    pub(super) fn subscribe() -> Result<Events, NetworkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetworkError::Socket)?;
        tokio::spawn(connection);
        let events = messages.filter_map(move |(message, _)| {
            // The connection closes when its last handle is dropped.
            let _held = &handle;
            std::future::ready(event(message))
        });
        Ok(events.boxed())
    }

    /// All NICs.
    pub(super) async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let rows = self.read("list links", |handle| handle.link().get().execute()).await?;
        Ok(rows.iter().filter_map(Link::parse).collect())
    }

    /// All neighbours.
    pub(super) async fn neighbours(&self) -> Result<HashMap<Key, Entry>, NetworkError> {
        let rows = self.read("list neighbours", |handle| handle.neighbours().get().execute());
        Ok(rows.await?.iter().filter_map(neighbour::parse).collect())
    }

    /// Reads a table. `request` sends the request, so it is called when no other table is being read.
    async fn read<M, S: TryStream<Ok = M, Error = rtnetlink::Error>>(
        &self,
        what: &str,
        request: impl FnOnce(&Handle) -> S,
    ) -> Result<Vec<M>, NetworkError> {
        let _turn = self.reading.lock().await;
        let rows = request(&self.handle).try_collect().await;
        rows.map_err(|e| NetworkError::from_netlink(|| what.to_owned(), e))
    }

    /// Where packets to an address would go.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Route, NetworkError> {
        let request = match address {
            IpAddr::V4(v4) => {
                RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                RouteMessageBuilder::<std::net::Ipv6Addr>::new().destination_prefix(v6, 128).build()
            }
        };
        let answer = self.handle.route().get(request).execute().boxed().try_next().await;
        match answer {
            Ok(Some(message)) => Ok(route(&message)),
            Ok(None) => Ok(Route::Elsewhere("has no route".to_owned())),
            Err(error) => {
                let error = NetworkError::from_netlink(|| format!("route to {address}"), error);
                // The kernel answered: unreachable, prohibited, and the like.
                if error.errno().is_some() {
                    Ok(Route::Elsewhere("has no route".to_owned()))
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Asks the kernel to find, or to confirm, a neighbour's MAC. It sends the ARP requests or neighbour solicitations
    /// and reports the outcome as an event; we send no packet.
    pub(super) async fn ask(&self, (ifindex, address): Key, ask: Ask) -> Result<(), NetworkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = ifindex;
        message.attributes.push(NeighbourAttribute::Destination(address.into()));
        let flags = match ask {
            // As if a packet were to be sent: creates a missing entry, and restarts a failed one.
            Ask::Resolve => {
                message.header.flags = NeighbourFlags::Use;
                NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
            }
            // Without a MAC and without NLM_F_REPLACE the entry keeps its MAC and flags, and the kernel's probes (to
            // that MAC) decide whether it stays.
            Ask::Confirm => {
                message.header.state = NeighbourState::Probe;
                NLM_F_REQUEST | NLM_F_ACK
            }
        };
        self.execute(RouteNetlinkMessage::NewNeighbour(message), flags, || {
            format!("resolve {address} on ifindex {ifindex}")
        })
        .await
    }

    /// See [`super::Network::add_vip`].
    pub(super) async fn add_vip(
        &self,
        ifindex: u32,
        vip: IpAddr,
    ) -> Result<VipAdded, NetworkError> {
        if self.has_address(ifindex, vip).await? {
            return Ok(VipAdded::AlreadyThere);
        }
        self.put_vip(ifindex, vip).await
    }

    /// See [`super::Network::put_vip`].
    pub(super) async fn put_vip(
        &self,
        ifindex: u32,
        vip: IpAddr,
    ) -> Result<VipAdded, NetworkError> {
        let mut request = self.handle.address().add(ifindex, vip, prefix(vip));
        let attributes = &mut request.message_mut().attributes;
        // A /32's broadcast address would be the VIP itself.
        attributes
            .retain(|a| !matches!(a, AddressAttribute::Flags(_) | AddressAttribute::Broadcast(_)));
        attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
        if vip.is_ipv6() {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = u32::MAX;
            attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        match request.execute().await {
            Ok(()) => Ok(VipAdded::Added),
            Err(error) => {
                let what = || format!("add vip {vip} on ifindex {ifindex}");
                let error = NetworkError::from_netlink(what, error);
                if error.errno() == Some(libc::EEXIST) {
                    Ok(VipAdded::AlreadyThere)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// See [`super::Network::remove_vip`].
    pub(super) async fn remove_vip(&self, ifindex: u32, vip: IpAddr) -> Result<(), NetworkError> {
        let mut message = AddressMessage::default();
        message.header.family = family(vip);
        message.header.prefix_len = prefix(vip);
        message.header.index = ifindex;
        message.attributes.push(AddressAttribute::Local(vip));
        message.attributes.push(AddressAttribute::Address(vip));
        let removed = self.handle.address().del(message).execute().await;
        let what = || format!("remove vip {vip} from ifindex {ifindex}");
        match removed.map_err(|e| NetworkError::from_netlink(what, e)) {
            Err(e) if matches!(e.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            other => other,
        }
    }

    /// All addresses of this host, and the broadcast addresses of their networks.
    pub(super) async fn addresses(&self) -> Result<BTreeSet<IpAddr>, NetworkError> {
        Ok(self.address_messages().await?.iter().flat_map(addresses::parse).collect())
    }

    /// All addresses of this host, by NIC.
    pub(super) async fn held(&self) -> Result<Vec<HeldAddress>, NetworkError> {
        Ok(self.address_messages().await?.iter().filter_map(HeldAddress::parse).collect())
    }

    async fn address_messages(&self) -> Result<Vec<AddressMessage>, NetworkError> {
        self.read("list addresses", |handle| handle.address().get().execute()).await
    }

    /// Whether a NIC has an address, whatever its prefix.
    async fn has_address(&self, ifindex: u32, address: IpAddr) -> Result<bool, NetworkError> {
        let what = format!("addresses of ifindex {ifindex}");
        let request =
            |handle: &Handle| handle.address().get().set_link_index_filter(ifindex).execute();
        let messages = self.read(&what, request).await?;
        let held = messages.iter().filter_map(HeldAddress::parse);
        Ok(held.into_iter().any(|held| held.ifindex == ifindex && held.address == address))
    }

    async fn execute(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl Fn() -> String,
    ) -> Result<(), NetworkError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|e| NetworkError::from_netlink(&what, e))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                return Err(NetworkError::Refused { what: what(), source: extack::error(&error) });
            }
        }
        Ok(())
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

const fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn event(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let port = message.header.port_number;
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Event::Overrun),
        _ => return None,
    };
    use RouteNetlinkMessage as M;
    match message {
        M::NewLink(m) => Link::parse(&m).map(Event::Link),
        M::DelLink(m) => Link::parse(&m).map(|link| Event::LinkGone(link.ifindex)),
        M::NewNeighbour(m) => neighbour::parse(&m).map(|(key, entry)| Event::Neighbour(key, entry)),
        M::DelNeighbour(m) => {
            neighbour::parse(&m).map(|(key, _)| Event::Neighbour(key, Entry::Absent))
        }
        M::NewAddress(m) => Some(Event::Addresses(addresses::parse(&m))),
        M::DelAddress(m) => {
            Some(Event::AddressGone(HeldAddress::parse(&m), (port != 0).then_some(port)))
        }
        M::NewRoute(_) | M::DelRoute(_) | M::NewRule(_) | M::DelRule(_) => Some(Event::Routes),
        _ => None,
    }
}

fn route(message: &RouteMessage) -> Route {
    let (mut nic, mut gateway) = (None, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(ifindex) = attribute {
            nic = Some(*ifindex);
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = Some(match address {
                RouteAddress::Inet(v4) => v4.to_string(),
                RouteAddress::Inet6(v6) => v6.to_string(),
                _ => "a gateway".to_owned(),
            });
        } else if let RouteAttribute::Via(_) = attribute {
            gateway = Some("a gateway".to_owned());
        }
    }
    match (message.header.kind, nic, gateway) {
        (RouteType::Local, ..) => {
            Route::Elsewhere("is an address of this host (hint: local = true)".to_owned())
        }
        (RouteType::Unicast, Some(ifindex), None) => Route::OnLink(ifindex),
        (RouteType::Unicast, _, Some(gateway)) => {
            Route::Elsewhere(format!("is not on-link on an attached nic (route via {gateway})"))
        }
        _ => Route::Elsewhere("has no unicast route".to_owned()),
    }
}
