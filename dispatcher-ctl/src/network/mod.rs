//! The host network: NICs, neighbours and VIPs, over netlink.

use crate::model::Mac;

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
