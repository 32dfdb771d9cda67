//! Checks that the kernel has room for a neighbour entry. TCP does not report it: packets are just not sent.

use std::net::IpAddr;

use super::{
    kernel::{Kernel, Route},
    neighbour::Ask,
};

/// Whether the kernel's neighbour table has the entry that packets to an address need, or room for it; true if that
/// cannot be determined.
pub async fn has_neighbour_room(address: IpAddr) -> bool {
    let Ok(kernel) = Kernel::connect() else { return true };
    let Ok(Route::OnLink(ifindex)) = kernel.route(address).await else { return true };
    let asked = kernel.ask((ifindex, address), Ask::Resolve).await;
    !asked.is_err_and(|error| error.errno() == Some(libc::ENOBUFS))
}
