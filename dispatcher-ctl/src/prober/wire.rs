//! The veth between this host and the prober's namespace.
//!
//! The prober's end asks nobody for MACs (NOARP) and is the way to everywhere. This host's end has no addresses at all: not a
//! route of this host is due to it.

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
    },
    route::{RouteScope, RouteType},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::network::{Link, NetworkError};

/// Name of the end at this host.
pub const HOST_END: &str = "dsp-probe0";
/// Name of the end in the prober's namespace.
const PROBER_END: &str = "probe0";
/// The routing table of local addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;
/// What both say of themselves.
const ALIAS: &str = "dispatcher: probes of VIPs";

/// A veth, as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// ifindex of the end at this host.
    pub(super) host: u32,
    /// ifindex of the prober's end, in its namespace.
    pub(super) prober: u32,
    /// Where answers are to go.
    pub(super) end: ProbeEnd,
}

fn failed(what: &str, error: rtnetlink::Error) -> NetworkError {
    NetworkError::from_netlink(|| what.to_owned(), error)
}

/// Joins the prober's namespace to this one. What a predecessor left under our name goes.
///
/// # Errors
/// As netlink.
pub(super) async fn join(
    host: &Handle,
    prober: &Handle,
    namespace: BorrowedFd<'_>,
    mtu: u32,
) -> Result<Wire, NetworkError> {
    remove(host).await?;
    host.link()
        .add(pair(namespace, mtu))
        .execute()
        .await
        .map_err(|e| failed(&format!("add veth {HOST_END}"), e))?;
    let ours = link(host, HOST_END).await?;
    let theirs = link(prober, PROBER_END).await?;
    let set = |index| LinkUnspec::new_with_index(index).append_extra_attribute(without_addresses());
    // While they are down. Without IPv6 there is nothing to keep from having addresses.
    let _no_ipv6 = host.link().set(set(ours.ifindex).build()).execute().await;
    // Nor a route for multicast, where this may be written: packets come and go below IP.
    let _read_only =
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{HOST_END}/disable_ipv6"), "1");
    let _no_ipv6 = prober.link().set(set(theirs.ifindex).build()).execute().await;
    let up = LinkUnspec::new_with_index(theirs.ifindex).arp(false).up().build();
    let what = format!("set {PROBER_END} up");
    prober.link().set(up).execute().await.map_err(|e| failed(&what, e))?;
    let up = LinkUnspec::new_with_index(ours.ifindex).up().build();
    let what = format!("set {HOST_END} up");
    host.link().set(up).execute().await.map_err(|e| failed(&what, e))?;
    route(prober, theirs.ifindex).await?;
    let end = ProbeEnd { ifindex: ours.ifindex, mac: theirs.mac.0, _reserved: [0; 2] };
    Ok(Wire { host: ours.ifindex, prober: theirs.ifindex, end })
}

/// Removes the veth, if there is one under our name.
///
/// # Errors
/// As netlink.
pub(super) async fn remove(host: &Handle) -> Result<(), NetworkError> {
    let Ok(found) = link(host, HOST_END).await else { return Ok(()) };
    let removed = host.link().del(found.ifindex).execute().await;
    match removed.map_err(|e| failed(&format!("remove veth {HOST_END}"), e)) {
        // It went by itself.
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Gives the prober an address.
///
/// # Errors
/// As netlink.
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
    // Used at once: nobody else is there to have it.
    attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    let added = request.execute().await;
    let what = format!("give {address} to {PROBER_END}");
    there(added.map_err(|e| failed(&what, e)))?;
    let IpAddr::V6(v6) = address else { return Ok(()) };
    // The kernel does this by itself, but some time later: what comes until then would not be taken for ours.
    let local = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(v6, 128)
        .output_interface(ifindex)
        .kind(RouteType::Local)
        .table_id(LOCAL)
        .build();
    there(prober.route().add(local).execute().await.map_err(|e| failed(&what, e)))
}

/// What is there already is as good as added.
fn there(added: Result<(), NetworkError>) -> Result<(), NetworkError> {
    match added {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn pair(namespace: BorrowedFd<'_>, mtu: u32) -> netlink_packet_route::link::LinkMessage {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(PROBER_END)
        .mtu(mtu)
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(HOST_END)
        .alias(ALIAS)
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build()
}

/// No link-local address, and no route that comes with it.
fn without_addresses() -> LinkAttribute {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
}

/// Makes the prober's end the way to everywhere, in both families where there are both.
async fn route(prober: &Handle, ifindex: u32) -> Result<(), NetworkError> {
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
        .output_interface(ifindex)
        .scope(RouteScope::Link)
        .build();
    let what = format!("route by {PROBER_END}");
    prober.route().add(v4).execute().await.map_err(|e| failed(&what, e))?;
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
        .output_interface(ifindex)
        .build();
    let added = prober.route().add(v6).execute().await;
    match added.map_err(|e| failed(&what, e)) {
        // A kernel without IPv6; the first address of it will be told so.
        Err(error) if matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {
            Ok(())
        }
        other => other,
    }
}

async fn link(handle: &Handle, name: &str) -> Result<Link, NetworkError> {
    let what = format!("look for {name}");
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let message = found.try_next().await.map_err(|e| failed(&what, e))?;
    message.as_ref().and_then(Link::parse).ok_or(NetworkError::Closed { what })
}
