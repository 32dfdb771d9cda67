//! Removes what probes of VIPs leave on NICs on kernels before Linux 6.6, where TC programs attach as filters.

use futures_util::StreamExt as _;
use netlink_packet_route::tc::TcHandle;

use crate::{
    datapath::{leaves_filters, remove_filter},
    network::extack,
};

/// Removes the leftovers of probes from a NIC, and its `clsact` queue if there are no other filters.
pub async fn remove_leftovers(nic: &str) {
    if leaves_filters() {
        remove_filter(nic);
        remove_unused(nic).await;
    }
}

/// Whether a NIC has any filter on incoming packets.
pub(super) async fn has_filters(host: &rtnetlink::Handle, nic: &str) -> bool {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(nic) else { return false };
    let mut filters = host.traffic_filter(ifindex.cast_signed()).get().ingress().execute();
    matches!(filters.next().await, Some(Ok(_)))
}

/// Removes a NIC's `clsact` queue if it has no filters.
async fn remove_unused(nic: &str) {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(nic) else { return };
    let Ok(handle) = extack::connect() else { return };
    let ifindex = ifindex.cast_signed();
    let ingress = handle.traffic_filter(ifindex).get().ingress().execute();
    let egress = handle.traffic_filter(ifindex).get().egress().execute();
    let mut filters = ingress.chain(egress).boxed();
    // An error (there is no such queue) also counts as no filter: then there is nothing to remove.
    if filters.next().await.is_none() {
        let mut request = handle.qdisc().del(ifindex);
        request.message_mut().header.parent = TcHandle::CLSACT;
        let _none = request.execute().await;
    }
}
