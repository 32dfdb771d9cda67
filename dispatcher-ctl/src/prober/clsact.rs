//! What probes of VIPs leave on NICs where TC attaches by filters (before Linux 6.6), and its removal.

use futures_util::StreamExt as _;
use netlink_packet_route::tc::TcHandle;

use crate::{
    dataplane::{leaves_filters, remove_filter},
    network::extack,
};

/// Takes from a NIC what probes of VIPs have left there, and its `clsact` queue where it has no other filters.
pub async fn tidy(nic: &str) {
    if leaves_filters() {
        remove_filter(nic);
        remove_unused(nic).await;
    }
}

/// Whether any filter is on what comes in by a NIC.
pub(super) async fn has_filters(host: &rtnetlink::Handle, nic: &str) -> bool {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(nic) else { return false };
    let mut filters = host.traffic_filter(ifindex.cast_signed()).get().ingress().execute();
    matches!(filters.next().await, Some(Ok(_)))
}

/// Removes a NIC's `clsact` queue if nobody's filters are on it. Most often there is none.
async fn remove_unused(nic: &str) {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(nic) else { return };
    let Ok((connection, handle)) = extack::connect() else { return };
    tokio::spawn(connection);
    let ifindex = ifindex.cast_signed();
    let ingress = handle.traffic_filter(ifindex).get().ingress().execute();
    let egress = handle.traffic_filter(ifindex).get().egress().execute();
    let mut filters = ingress.chain(egress).boxed();
    // An error, as where there is no such queue, is no filter, either: but then there is nothing to remove.
    if filters.next().await.is_none() {
        let mut request = handle.qdisc().del(ifindex);
        request.message_mut().header.parent = TcHandle::CLSACT;
        let _none = request.execute().await;
    }
}
