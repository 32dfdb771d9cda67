//! The veth between the host and the prober's namespace.
//!
//! The prober's default route goes through its end, to a gateway that does not exist but has a permanent neighbour
//! entry: so no probe needs an entry of the kernel's neighbour table, which others may have filled. The host's end has
//! no addresses, so it adds no route to the host.
//!
//! Its name is the first free one, so that several controllers in one network namespace (each with its own pins) do not
//! conflict. Its alias names its owner.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use dispatcher_common::probe::ProbeEnd;
use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags},
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkMessage,
    },
    neighbour::NeighbourState,
    route::{RouteScope, RouteType},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::network::{Link, NetworkError};

/// Names of the end on the host begin so; a number below [`HOST_ENDS`] follows.
const HOST_END: &str = "dsp-probe";
const HOST_ENDS: usize = 10;
/// Name of the end in the prober's namespace.
const PROBER_END: &str = "probe0";
/// The routing table of local addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;
/// The beginning of the alias; the owner follows.
const ALIAS: &str = "dispatcher: probes of VIPs";
/// Longest alias, in bytes: `IFALIASZ` without its end.
const LONGEST_ALIAS: usize = 255;
/// Gateways of the prober's packets: addresses that no host has.
const GATEWAYS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(169, 254, 0, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// An existing veth.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// Name of the end on the host.
    pub(super) name: String,
    /// ifindex of the end on the host.
    pub(super) host: u32,
    /// ifindex of the prober's end, in its namespace.
    pub(super) prober: u32,
    /// Where answers go.
    pub(super) end: ProbeEnd,
    /// MTU of both ends in bytes of L3.
    mtu: u32,
}

fn failed(what: &str, error: rtnetlink::Error) -> NetworkError {
    NetworkError::from_netlink(|| what.to_owned(), error)
}

/// Joins the prober's namespace to this one. Removes what a predecessor with the same owner's name left.
///
/// # Errors
/// As netlink reports.
pub(super) async fn join(
    host: &Handle,
    prober: &Handle,
    namespace: BorrowedFd<'_>,
    mtu: u32,
    owner: &str,
) -> Result<Wire, NetworkError> {
    let alias = alias(owner);
    let name = free_name(host, &alias).await?;
    host.link()
        .add(pair(&name, &alias, namespace, mtu))
        .execute()
        .await
        .map_err(|e| failed(&format!("add veth {name}"), e))?;
    let ours = link(host, &name).await?;
    let theirs = link(prober, PROBER_END).await?;
    let set = |index| LinkUnspec::new_with_index(index).append_extra_attribute(without_addresses());
    // Set while they are down. Without IPv6 there are no addresses to prevent.
    let _no_ipv6 = host.link().set(set(ours.ifindex).build()).execute().await;
    // Also no multicast route, if this is writable: packets pass below IP.
    let _read_only = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let _no_ipv6 = prober.link().set(set(theirs.ifindex).build()).execute().await;
    let up = LinkUnspec::new_with_index(theirs.ifindex).arp(false).up().build();
    let what = format!("set {PROBER_END} up");
    prober.link().set(up).execute().await.map_err(|e| failed(&what, e))?;
    let up = LinkUnspec::new_with_index(ours.ifindex).up().build();
    let what = format!("set {name} up");
    host.link().set(up).execute().await.map_err(|e| failed(&what, e))?;
    route(prober, &theirs).await?;
    let end = ProbeEnd { ifindex: ours.ifindex, mac: theirs.mac.0, _reserved: [0; 2] };
    Ok(Wire { name, host: ours.ifindex, prober: theirs.ifindex, end, mtu })
}

/// Removes the veth with this ifindex from the host, if it is there.
///
/// # Errors
/// As netlink reports.
pub(super) async fn remove(host: &Handle, ifindex: u32) -> Result<(), NetworkError> {
    let removed = host.link().del(ifindex).execute().await;
    match removed.map_err(|e| failed(&format!("remove veth with ifindex {ifindex}"), e)) {
        // It is already gone.
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Checks that a veth exists, is up at both ends, and has its former MTU.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn is_whole(host: &Handle, wire: &Wire) -> Result<(), String> {
    let Wire { name, host: ifindex, mtu: least, .. } = wire;
    let mut found = host.link().get().match_index(*ifindex).execute();
    match found.try_next().await.map_err(|e| failed("look for the veth of probes", e)) {
        Ok(message) => match message.as_ref().and_then(Link::parse) {
            Some(Link { up: true, mtu, .. }) if mtu < *least => {
                Err(format!("veth {name} for probes of VIPs has an MTU of {mtu}"))
            }
            Some(Link { up: true, .. }) => Ok(()),
            Some(_) | None => Err(format!("veth {name} for probes of VIPs is down")),
        },
        Err(error) if error.errno() == Some(libc::ENODEV) => {
            Err(format!("veth {name} for probes of VIPs is gone"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The alias of this owner's veth.
fn alias(owner: &str) -> String {
    let mut alias = format!("{ALIAS}, {owner}");
    while alias.len() > LONGEST_ALIAS {
        alias.pop();
    }
    alias
}

/// The first name that no other controller uses. Removes a predecessor's veth: one with the same alias, or without an
/// owner.
async fn free_name(host: &Handle, alias: &str) -> Result<String, NetworkError> {
    for name in (0..HOST_ENDS).map(|i| format!("{HOST_END}{i}")) {
        let mut found = host.link().get().match_name(name.clone()).execute();
        let Ok(Some(message)) = found.try_next().await else { return Ok(name) };
        let says = |said: &str| {
            let is =
                |a: &LinkAttribute| matches!(a, LinkAttribute::IfAlias(alias) if alias == said);
            message.attributes.iter().any(is)
        };
        if says(alias) || says(ALIAS) {
            remove(host, message.header.index).await?;
            return Ok(name);
        }
    }
    let source = std::io::Error::from_raw_os_error(libc::EEXIST);
    let what = format!("add veth {HOST_END}0 to {HOST_END}{}", HOST_ENDS - 1);
    Err(NetworkError::Refused { what, source })
}

/// Gives the prober an address.
///
/// # Errors
/// As netlink reports.
pub(super) async fn add_address(
    prober: &Handle,
    ifindex: u32,
    address: IpAddr,
) -> Result<(), NetworkError> {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let mut request = prober.address().add(ifindex, address, prefix);
    let attributes = &mut request.message_mut().attributes;
    attributes
        .retain(|a| !matches!(a, AddressAttribute::Flags(_) | AddressAttribute::Broadcast(_)));
    // No duplicate detection: nobody else can have it there.
    attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    let added = request.execute().await;
    let what = format!("give {address} to {PROBER_END}");
    or_exists(added.map_err(|e| failed(&what, e)))?;
    let IpAddr::V6(v6) = address else { return Ok(()) };
    // The kernel does this itself, but later; until then it would not accept packets to the address.
    let local = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(v6, 128)
        .output_interface(ifindex)
        .kind(RouteType::Local)
        .table_id(LOCAL)
        .build();
    or_exists(prober.route().add(local).execute().await.map_err(|e| failed(&what, e)))
}

/// Treats an existing object as added.
fn or_exists(added: Result<(), NetworkError>) -> Result<(), NetworkError> {
    match added {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn pair(name: &str, alias: &str, namespace: BorrowedFd<'_>, mtu: u32) -> LinkMessage {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(PROBER_END)
        .mtu(mtu)
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name.to_owned())
        .alias(alias.to_owned())
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build()
}

/// No link-local address, and no route for one.
fn without_addresses() -> LinkAttribute {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
}

/// Sets the prober's default routes, in every family that the kernel supports.
async fn route(prober: &Handle, end: &Link) -> Result<(), NetworkError> {
    let (v4, v6) = GATEWAYS;
    // The TC program overwrites this MAC with the backend's.
    gateway(prober, end, v4.into()).await?;
    let way = || RouteMessageBuilder::<Ipv4Addr>::new().output_interface(end.ifindex);
    let near = way().destination_prefix(v4, 32).scope(RouteScope::Link).build();
    let far = way().destination_prefix(Ipv4Addr::UNSPECIFIED, 0).gateway(v4).build();
    let what = format!("route by {PROBER_END}");
    for way in [near, far] {
        prober.route().add(way).execute().await.map_err(|e| failed(&what, e))?;
    }
    let way = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
        .gateway(v6)
        .output_interface(end.ifindex)
        .build();
    let added = match gateway(prober, end, v6.into()).await {
        Ok(()) => prober.route().add(way).execute().await.map_err(|e| failed(&what, e)),
        Err(error) => Err(error),
    };
    match added {
        // A kernel without IPv6; adding the first IPv6 address will report that.
        Err(error) if is_without_family(&error) => Ok(()),
        other => other,
    }
}

fn is_without_family(error: &NetworkError) -> bool {
    matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT))
}

/// A permanent neighbour entry, which does not count towards the table's limit.
async fn gateway(prober: &Handle, end: &Link, address: IpAddr) -> Result<(), NetworkError> {
    let entry = prober.neighbours().add(end.ifindex, address).link_layer_address(&end.mac.0);
    let added = entry.state(NeighbourState::Permanent).execute().await;
    added.map_err(|e| failed(&format!("add neighbour {address} of {PROBER_END}"), e))
}

async fn link(handle: &Handle, name: &str) -> Result<Link, NetworkError> {
    let what = format!("look for {name}");
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let message = found.try_next().await.map_err(|e| failed(&what, e))?;
    message.as_ref().and_then(Link::parse).ok_or(NetworkError::Closed { what })
}
